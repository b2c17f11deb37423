"""DEDICATED: a client's whole session owns a connection."""
