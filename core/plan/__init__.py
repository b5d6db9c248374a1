"""The plan: what `params.yaml` may say, a module for each section, and the checks of what it says."""
