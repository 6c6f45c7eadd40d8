"""One module per command: parse options, make one call, format the result.

May import every package; heavy imports are inside functions, so that `--help` starts at once. Read
`options.py` first, then the command.
"""
