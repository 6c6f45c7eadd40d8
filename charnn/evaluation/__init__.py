"""How well a model predicts a text.

Metrics, evaluation with carried state, in windows and dynamic, surprisal, baselines. Imports data,
model, tokenizers and what is below them; metrics and surprisal run without torch. Read
`metrics.py` first, then `evaluate.py`.
"""
