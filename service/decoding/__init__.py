"""Files that strangers sent, decoded in processes that can do nothing else.

`pool` has some `decoder`s, each a process that is a `child` for `images` or `tables`
within the limits of `sandbox` and `syscalls`; `wire` is how they talk, `replies` what
is believed of it, and `trades` all that differs between the two.
"""
