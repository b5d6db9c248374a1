"""The verbs of experiments that run in the service."""
