"""Sums that are the same in any order and on every machine, and what can be read from sums alone."""
