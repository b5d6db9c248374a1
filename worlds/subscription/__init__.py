"""A subscription business over 24 months, drawn from a stated cancellation hazard, with the truth beside the data."""
