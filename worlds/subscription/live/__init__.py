"""The business in operation: it lives day by day against a running service, and keeps a journal of all that it sent."""
