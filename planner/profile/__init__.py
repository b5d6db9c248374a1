"""Profile files: their tables, columns, keys, links and times."""
