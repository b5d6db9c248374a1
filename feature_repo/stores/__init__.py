"""Feast's stores over this project's files and tables; the only room that imports Feast."""
