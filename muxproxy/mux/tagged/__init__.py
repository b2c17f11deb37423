"""TAGGED: many in flight, replies by id."""
