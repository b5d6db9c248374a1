"""The processes of the service, the HTTP protocol and their metrics."""
