"""The evaluation as pages and pictures."""
