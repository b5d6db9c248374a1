"""Training rows, labels and folds."""
