"""What fits: candidates, their steps, tuning and ensembles."""
