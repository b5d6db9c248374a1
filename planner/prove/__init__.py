"""Prove that no feature looks ahead."""
