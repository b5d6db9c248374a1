"""Check a plan against its data, before the first stage."""
