"""`muxproxy redirect`: the kernel's rules for backends with `to = "original"`: print, write, remove them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import click

from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.options import config_option
from muxproxy.config.destination.redirect import TABLE, Redirects, removal
from muxproxy.config.identity import UnknownNameError, identity
from muxproxy.config.load import load
from muxproxy.config.model import Config
from muxproxy.errors import ConfigError, Problem

SERVICE_USER = "muxproxy"  # of systemd/muxproxy.service
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"  # where nft lives, and on few users' path
_TIMEOUT = 20.0  # seconds


@click.command(short_help="Print, write or remove the kernel's rules that lead apps' connections here.")
@config_option
@click.option("--write", is_flag=True, help="Have nft carry them out, in place of earlier ones.")
@click.option("--remove", is_flag=True, help="Have nft remove what --write has written.")
def redirect(path: Path, write: bool, remove: bool) -> None:
    """Print nftables rules that lead connections of this machine's apps to muxproxy, by [clients] redirect.

    What muxproxy itself connects to is let alone. The rules are one table, inet muxproxy, and go as they
    came: all at once. `muxproxy check` says whether they are in place.
    """
    if write and remove:
        raise click.UsageError("--write or --remove")
    if remove:
        _nft(removal())
        return
    try:
        script = redirects(load(path)).script()
    except ConfigError as error:
        raise Failure(Exit.CONFIG, str(error)) from None
    if write:
        _nft(script)
    else:
        click.echo(script, nl=False)


def redirects(config: Config) -> Redirects:
    """Raises ConfigError."""
    try:
        wanted = Redirects(config.backends, _own(config), _uid)
    except LookupError as error:
        name = str(error.args[0])
        file = next((b.file for b in config.backends if name in b.clients.redirect_users), "")
        rule = "this machine has no such user"
        raise ConfigError([Problem(file, "clients.redirect_users", f'"{name}"', rule)]) from None
    if not wanted:
        rule = 'no backend has [clients] redirect = ["6379"], which says whose connections are to be led here'
        raise ConfigError([Problem(config.node.file, "", "", rule)])
    return wanted


def _own(config: Config) -> list[int]:
    """As whom muxproxy connects: as muxproxy.toml has it, or its service, or who asks."""
    try:
        found = identity(config.node)
    except UnknownNameError as error:
        raise ConfigError([Problem(config.node.file, error.key, config.node.user, str(error))]) from None
    if found is not None:
        return [found.uid]
    try:
        return [pwd.getpwnam(SERVICE_USER).pw_uid]
    except KeyError:
        return [os.geteuid()]


def _uid(name: str) -> int:
    """Raises LookupError with the name."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise LookupError(name) from None


def trouble(config: Config) -> str:
    """Why the rules are not in place, or cannot be looked at; "": they are, or none are asked for."""
    if not any(backend.clients.redirect for backend in config.backends):
        return ""
    try:
        wanted = redirects(config)
        listed = _run(["-j", "list", "table", "inet", TABLE])
    except (ConfigError, OSError, Failure) as error:
        return f"cannot be looked at: {error}"
    if listed.returncode:
        said = listed.stderr.strip().splitlines()
        if "No such file or directory" in listed.stderr:
            return "are not in place: muxproxy redirect --write"
        return f"cannot be looked at: {said[0] if said else 'nft fails'}"
    problem = wanted.problem(listed.stdout)
    return f"are not in place: {problem}: muxproxy redirect --write" if problem else ""


def _nft(script: str) -> None:
    try:
        done = _run(["-f", "-"], script)
    except OSError as error:
        raise Failure(Exit.CANNOT_START, str(error)) from None
    if done.returncode:
        raise Failure(Exit.CANNOT_START, f"nft: {done.stderr.strip() or 'fails'}")


def _run(words: list[str], script: str = "") -> subprocess.CompletedProcess[str]:
    """Raises OSError."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}{SBIN}")
    if program is None:
        raise FileNotFoundError("nft is not installed: it is in the package nftables")
    try:
        return subprocess.run(
            [program, *words], input=script, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"nft says nothing for {_TIMEOUT:g} s") from None
