"""The plan `params.yaml`: a module for each section, and the checks between sections."""
