"""The HTML report of an evaluation: its sections, tables and SVG figures."""
