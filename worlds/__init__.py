"""Simulated data with known truth, to try the platform on. Nothing in the platform imports this package."""
