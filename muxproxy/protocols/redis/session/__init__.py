"""One client: what its connection remembers, and what becomes of each of its commands."""
