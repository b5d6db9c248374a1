"""API keys of the service: their format, and the tables in which their hashes and their history are stored."""
