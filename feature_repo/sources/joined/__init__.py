"""Rows with columns of other sources."""
