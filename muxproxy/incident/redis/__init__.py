"""The second incident: a pool of connections to Redis that churns."""
