"""EXCLUSIVE: one exchange at a time on a connection."""
