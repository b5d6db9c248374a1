"""The check of API keys in the service: keys cached in each worker, scopes of routes, rate limits."""
