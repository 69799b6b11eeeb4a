"""``python benchmarks/load``: see `load_command`."""

from load_command import main

main()
