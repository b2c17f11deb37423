"""`muxproxy doctor`: the command in command.py, and how it is shown in view.py."""

from muxproxy.cli.doctor.command import doctor as doctor
