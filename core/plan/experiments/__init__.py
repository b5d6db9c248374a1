"""The plan's words about experiments: metrics besides the label's outcome."""
