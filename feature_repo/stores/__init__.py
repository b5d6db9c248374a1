"""Feast's stores on our files and tables; the only room that imports Feast."""
