"""Fitting of candidates: preparation steps, estimators, ensembles and the search for parameters."""
