"""The business in operation: a simulation, day by day, against a running service, with a journal of everything sent."""
