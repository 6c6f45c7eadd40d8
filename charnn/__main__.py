"""`python -m charnn` is the command `charnn`. Never knows: anything else."""

from charnn.cli import run

run()
