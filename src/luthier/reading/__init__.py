"""Data files and what their rows look like."""
