"""Scoring: encoding, preparation and model files. Modules of this room never fit anything."""
