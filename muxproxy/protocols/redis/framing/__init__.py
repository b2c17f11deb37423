"""Bytes <-> frames: client bytes to requests, server bytes to replies."""
