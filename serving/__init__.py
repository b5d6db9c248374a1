"""The prediction service: decode a request, read features, predict, log, respond."""
