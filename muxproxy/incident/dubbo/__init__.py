"""The third incident: consumers that open a thousand connections for each interface."""
