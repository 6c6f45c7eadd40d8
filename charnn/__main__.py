"""`python -m charnn` is the command `charnn`."""

from charnn.cli import run

run()
