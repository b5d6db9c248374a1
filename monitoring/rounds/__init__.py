"""Rounds of monitoring: one look at drift, parity and cohorts, the decision by rules, its record and its alert."""
