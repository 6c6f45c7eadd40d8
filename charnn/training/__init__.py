"""Train a model: loop, optimizers, time budget, checkpoints, run folder.

Training yields plain events and prints nothing. Imports evaluation, generation, model, data and the
packages below them; does not know commands or display. Read `trainer.py` first, then `loop.py`.
"""
