"""Files of rows and snapshots, and DuckDB over them."""
