"""The plan as a document for people: composed from the plan and the results of its last run, and read back."""
