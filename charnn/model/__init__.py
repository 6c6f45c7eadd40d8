"""The network: its specification, its file, in PyTorch and in NumPy, and the device it runs on.

Imports tokenizers, storage and what is below them; does not know datasets. The NumPy half and the
model file never import torch. Read `spec.py` and `backend.py` first, then `language_model.py` or
`numpy_model.py`.
"""
