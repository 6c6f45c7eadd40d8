"""What a person sees: messages, stdout, progress, charts.

Knows no models and no training; imports storage and what is below it, never torch. Read
`messages.py` first.
"""
