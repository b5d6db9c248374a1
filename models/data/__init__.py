"""Labels, training rows, the parts of the split, and folds."""
