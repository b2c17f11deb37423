"""`muxproxy systemd`: the command in command.py, and the texts of the units in units.py."""
