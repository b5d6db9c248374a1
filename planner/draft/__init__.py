"""From a profile and one line about the task to a plan, with the evidence of each of its lines."""
