"""Signals about each request: its trace, its log line and its spans."""
