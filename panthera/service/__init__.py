"""The service as its user has it: start it and stop it, call it, and make its first key."""
