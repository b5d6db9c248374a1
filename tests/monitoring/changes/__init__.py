"""Tests of `monitoring.changes`."""
