"""Evaluation of candidates: metrics, findings, explanations and leak scores."""
