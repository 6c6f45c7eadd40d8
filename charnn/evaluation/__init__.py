"""Evaluate models on text: metrics, evaluation methods, surprisal, baselines.

The methods are one pass with carried state, independent windows, and dynamic evaluation. Imports
data, model, tokenizers and the packages below them; metrics and surprisal run without torch. Read
`metrics.py` first, then `evaluate.py`.
"""
