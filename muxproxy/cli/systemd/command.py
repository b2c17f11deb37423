"""`muxproxy systemd`: the socket unit for the listeners of a configuration, printed or written."""

from __future__ import annotations

from pathlib import Path

import click

from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.options import config_option
from muxproxy.cli.systemd.units import UNITS, drop_in, write
from muxproxy.config.load import load
from muxproxy.errors import ConfigError


@click.command(name="systemd", short_help="Print or write systemd's socket unit for the listeners.")
@config_option
@click.option(
    "--write",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the files there (/etc/systemd/system), and remove those of backends that have gone.",
)
@click.option(
    "--instance",
    metavar="NAME",
    help="For muxproxy@NAME.service, which serves one of several configurations.",
)
def systemd(path: Path, directory: Path | None, instance: str | None) -> None:
    """Print systemd's socket unit for the listeners of the configuration.

    systemd then binds them, and muxproxy takes them over when it starts. The first who connects starts it.
    Nothing of this is needed to run muxproxy as a service, nor to restart it without a refused connect.
    """
    try:
        backends = load(path).backends
    except ConfigError as error:
        raise Failure(Exit.CONFIG, str(error)) from None
    unit = "muxproxy.socket" if instance is None else f"muxproxy@{_instance(instance)}.socket"
    base = "muxproxy.socket" if instance is None else "muxproxy@.socket"
    files = {base: UNITS[base]} | {f"{unit}.d/{each.name}.conf": drop_in(each) for each in backends}
    if directory is None:
        click.echo("\n".join(f"# {name}\n{text}" for name, text in files.items()), nl=False)
        return
    try:
        for line in write(directory, unit, files):
            click.echo(line)
    except OSError as error:
        raise Failure(Exit.CANNOT_START, f"{error.filename}: {error.strerror}") from None


def _instance(name: str) -> str:
    """systemd.unit(5); what needs systemd-escape(1) is not a good name for an instance."""
    if not name or not all(letter.isalnum() or letter in "._-" for letter in name) or not name.isascii():
        raise click.BadParameter("letters, digits, '.', '_' and '-'", param_hint="--instance")
    return name
