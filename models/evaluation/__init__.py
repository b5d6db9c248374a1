"""What an evaluation finds: measured candidates, explanations and leaks."""
