"""ORDERED: many in flight, replies in order."""
