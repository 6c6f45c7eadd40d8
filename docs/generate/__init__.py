"""Write the generated pages and blocks of the documentation from the code.

`python -m docs.generate` writes them; with `--check` it only compares. One module for each page or
block; start with `__main__.py`.
"""
