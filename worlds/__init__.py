"""Worlds whose truth is known: generated data to try the platform on. Nothing in the platform imports them."""
