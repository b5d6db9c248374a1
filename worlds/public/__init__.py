"""Data sets of other shapes that Python packages ship, each with a plan.

`python -m worlds.public NAME FOLDER` writes the files. They look as their owners would have them: odd headers,
other delimiters, tokens for missing values.
"""
