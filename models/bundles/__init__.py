"""Bundles: model, contract and signature, written and loaded as a unit."""
