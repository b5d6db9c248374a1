"""Start stages: one process per `dvc repro` imports the libraries once, and each stage runs in a fork of it.

`python -m core.launch MODULE ARGUMENTS` does what `python -m MODULE ARGUMENTS` does. Without DVC as its parent, and wherever
anything is unusual, it is exactly that.
"""
