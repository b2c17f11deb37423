"""`muxproxy redirect`, and what `check` says of the rules."""
