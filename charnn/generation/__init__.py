"""From a model and a prompt to text: filters, constraints, stop strings, random streams.

Imports model, tokenizers, storage and what is below them; does not know evaluation or datasets,
and imports no torch. Read `generate.py` first.
"""
