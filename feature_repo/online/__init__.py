"""Online tables in PostgreSQL: names, types, writes, reads and history."""
