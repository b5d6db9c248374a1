"""Draft a plan from a profile and one line about the task, with the evidence for each line of the plan."""
