"""Clients that are not in yet: those that shake hands first."""
