"""Decide before the first stage: length and cost of the A/B test, threshold and money, and an interval for the score."""
