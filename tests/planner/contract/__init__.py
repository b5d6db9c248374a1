"""Tests of data contracts."""
