"""Experiments that are planned, started, ramped and stopped while the service runs, and canaries."""
