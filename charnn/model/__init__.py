"""Define the network: its specification, model file, PyTorch and NumPy versions, and device.

Imports tokenizers, storage and the packages below them; does not know datasets. The NumPy modules
and the model file never import torch. Read `spec.py` and `backend.py` first, then
`language_model.py` or `numpy_model.py`.
"""
