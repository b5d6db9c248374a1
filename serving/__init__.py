"""The service: decode, read features, predict, log, respond."""
