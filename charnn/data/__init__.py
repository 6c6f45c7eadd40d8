"""Read texts and prepare datasets on disk; read batches from a dataset.

Imports tokenizers, storage and the packages below them. Does not know models, and never imports
torch. Read `prepare.py` first for the path to disk, `samplers.py` for the path to batches.
"""
