"""Formats of files with objects or typed columns, as rows of a source."""
