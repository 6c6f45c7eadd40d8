"""Convert text to token ids and back; read and write tokenizer.json.

Imports storage and the packages below it, never torch. Read `tokenizer.py` first.
"""
