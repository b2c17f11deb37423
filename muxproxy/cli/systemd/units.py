"""The socket unit for the listeners of a configuration, as text and on the disk.

    muxproxy.socket                    what all of them have in common
    muxproxy.socket.d/NAME.conf        where backend NAME listens

A drop-in of ours begins with MARK: of those, and of no others, what has no backend any more is removed.
"""

from __future__ import annotations

import os
from pathlib import Path

from muxproxy.cli.exits import Exit, Failure
from muxproxy.config.address import parse_listen
from muxproxy.config.model import Backend

MARK = "# Written by `muxproxy systemd`"
_SOCKET = """\
# The sockets of muxproxy, held by systemd: they are there from early in the boot on, before muxproxy runs and
# while it stops and starts. Where each backend listens stands in {unit}.socket.d/NAME.conf. All is written by
#
#     {command}
#     systemctl daemon-reload
#
# and used from the next boot on, or at once, with a moment in which connects are refused:
#
#     systemctl stop {unit} && systemctl enable --now {unit}.socket {unit}

[Unit]
Description=Sockets of muxproxy{which}

[Socket]
# [::] is all of IPv6 and nothing else, as in the configuration.
BindIPv6Only=ipv6-only
# connect() to a unix socket needs the right to write; the same as muxproxy gives its own.
SocketMode=0666
# While muxproxy does not run; then the configuration's own number holds.
Backlog=4096

[Install]
WantedBy=sockets.target
"""
_WRITE = "muxproxy systemd --write /etc/systemd/system"
UNITS = {
    "muxproxy.socket": _SOCKET.format(unit="muxproxy", command=_WRITE, which=""),
    "muxproxy@.socket": _SOCKET.format(
        unit="muxproxy@INSTANCE",
        command=f"{_WRITE} -c /etc/muxproxy/instances/INSTANCE --instance INSTANCE",
        which=", %i",
    ),
}


def drop_in(backend: Backend) -> str:
    lines = [f"{MARK} from backend {backend.name}: change that, and write it again.", "[Socket]"]
    for text in backend.clients.listen:
        address = parse_listen(text)
        if address.kind == "tcp" and address.port == 0:
            lines.append(f"# {text}: muxproxy binds that itself")
            continue
        stream = address.path if address.kind == "unix" else str(address)
        if not stream.isprintable():
            raise Failure(Exit.CONFIG, f"backend {backend.name}: {text!r} cannot be written into a unit")
        lines.append(f"ListenStream={stream.replace('%', '%%')}")
    return "\n".join(lines) + "\n"


def write(directory: Path, unit: str, files: dict[str, str]) -> list[str]:
    """What was done, a line each. Raises OSError."""
    done = []
    for name, text in files.items():
        target = directory / name
        if target.is_file() and target.read_text() == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")  # systemd reads what ends in .conf
        draft.write_text(text)
        os.replace(draft, target)
        done.append(f"written: {target}")
    for target in sorted((directory / f"{unit}.d").glob("*.conf")):
        if f"{unit}.d/{target.name}" not in files and target.read_text().startswith(MARK):
            target.unlink()
            done.append(f"removed: {target}")
    return done or ["nothing to do"]
