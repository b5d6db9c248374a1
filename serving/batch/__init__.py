"""Scoring of many entities at once, with the same values and rules as a prediction of the service."""
