"""Parse options, make one call, format the result: one module per command.

May import every package. Heavy imports are inside functions, so that `--help` is fast. Read
`options.py` first, then the command.
"""
