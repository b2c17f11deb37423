"""Towards servers: how a connection to one comes about."""
