"""Text to token ids and back, and the file format of a tokenizer.

Imports storage and what is below it; never torch. Read `tokenizer.py` first.
"""
