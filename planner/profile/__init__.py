"""What stands in files: their tables, columns, keys, links and times."""
