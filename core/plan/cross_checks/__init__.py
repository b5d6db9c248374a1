"""Checks between the sections of a plan, by what they are about: its data, its labels and times, its evaluation."""
