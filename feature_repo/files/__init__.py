"""Parquet files of rows and snapshots, and DuckDB queries over them."""
