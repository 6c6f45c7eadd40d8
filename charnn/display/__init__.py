"""Show output to the user: messages, stdout, progress, charts.

Does not know models or training. Imports storage and the packages below it, never torch. Read
`messages.py` first.
"""
