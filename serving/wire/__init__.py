"""The wire format: request bodies, JSON, hosts, problem details and the OpenAPI document."""
