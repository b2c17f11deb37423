"""The command: `python -m tests.flood --seconds 5`. Exit status 1 if anybody else noticed a flood."""

from __future__ import annotations

import click

from tests.flood.floods import all_kinds, play


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Of each flood.")
@click.option("--only", default="", help="Kinds whose name (`client redis newlines`) has this in it.")
def main(seconds: float, only: str) -> None:
    """Flood muxproxy with every kind of frame, from both sides."""
    faults = 0
    for seen in play(seconds, [kind for kind in all_kinds() if only in " ".join(kind)]):
        click.echo(seen.line())
        for fault in seen.faults():
            faults += 1
            click.echo(f"    {fault}")
    if faults:
        raise click.ClickException(f"{faults} faults")


if __name__ == "__main__":
    main()
