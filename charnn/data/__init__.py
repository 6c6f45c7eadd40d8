"""From sources to a dataset on disk, and from a dataset to batches.

Imports tokenizers, storage and what is below them; does not know models, and never imports torch.
Read `prepare.py` first for the way to disk, `samplers.py` for the way to batches.
"""
