"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_PATH = Path("/etc/muxproxy")

# No exists=True, no readable=True: such a path is a problem of the configuration, told like all the others.
config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    metavar="PATH",
    help="A directory (muxproxy.toml, backends/*.toml) or one backend's file.",
)
