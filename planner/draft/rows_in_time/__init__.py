"""Drafts of tables whose rows are examples, each as of its own time."""
