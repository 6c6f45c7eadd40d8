"""Generate text from a model and a prompt: filters, constraints, stop strings, random streams.

Imports model, tokenizers, storage and the packages below them, never torch. Does not know
evaluation or datasets. Read `generate.py` first.
"""
