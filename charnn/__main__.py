"""Run the command line with `python -m charnn`."""

from charnn.cli import run

run()
