"""How muxproxy is built: backend.py is what pyproject.toml names. Nothing here runs on a node."""
