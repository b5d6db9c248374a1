"""Tests of the difference of plans."""
