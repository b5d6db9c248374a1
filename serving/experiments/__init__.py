"""Running experiments in the service: their arms, what is measured of their releases, and the guard of the limits."""
