"""Times and metrics over time: seasons, what is left of them, and how often something comes."""
