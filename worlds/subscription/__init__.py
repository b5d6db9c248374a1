"""A simulated subscription business over 24 months with a known cancellation hazard; the truth is written with the data."""
