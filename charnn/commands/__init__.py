"""Parse the options of a command, call a function, and format its result: a module per command.

May import every package. Heavy imports are inside functions, so that `--help` is fast. Read
`options.py` first, then the command.
"""
