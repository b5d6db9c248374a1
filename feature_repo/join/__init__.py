"""The point-in-time join, on NumPy and Arrow arrays alone."""
