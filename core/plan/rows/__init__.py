"""Rows of sources: columns that are joined from other sources, and rows whose times are as-of instants."""
