"""charnn trains recurrent language models on text and samples from them.

Importing it loads nothing heavy: NumPy, torch and the rest arrive with the first call.
"""

__version__ = "0.1.0"
