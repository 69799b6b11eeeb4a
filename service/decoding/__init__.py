"""Files that strangers sent, decoded in processes that can do nothing else.

`pool` has some `decoder`s, each a process that runs `child` within the limits of
`sandbox` and `syscalls`; `wire` is how they talk, `replies` what is believed of it.
"""
