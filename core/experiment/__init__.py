"""Experiments: assignment, the log of predictions, and the comparison of cohorts."""
