"""Run a training: loop, optimizers, time budget, checkpoints, run folder.

Yields plain events and prints nothing. Imports evaluation, generation, model, data and what is
below them; does not know commands or what is displayed. Read `trainer.py` first, then `loop.py`.
"""
