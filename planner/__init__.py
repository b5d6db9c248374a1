"""The planner: profile files, draft a plan from them, and check a plan against its data before the first stage."""
