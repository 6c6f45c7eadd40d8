"""Read and write files: JSON, YAML, safetensors; lock folders; find datasets, runs and models.

Every write is atomic, and all input is validated. Imports only config, errors and escape; never
torch. Read `atomic.py` first.
"""
