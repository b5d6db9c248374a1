"""What is sent: bodies, JSON, hosts, problem details and the OpenAPI document."""
