"""The units as text: what the repository has, and what an address becomes in a drop-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.systemd.units import MARK, UNITS, drop_in, write
from muxproxy.config.model import Backend, Clients, Upstream

ROOT = Path(__file__).resolve().parents[3]


def backend(*listen: str) -> Backend:
    return Backend(
        name="web",
        protocol="http",
        clients=Clients(listen=listen),
        upstream=Upstream(servers=("10.0.0.5:80",)),
    )


@pytest.mark.parametrize("name", UNITS)
def test_the_units_in_the_repository_are_what_it_writes(name: str) -> None:
    assert (ROOT / "systemd" / name).read_text() == UNITS[name]


def test_addresses_are_written_in_their_usual_spelling() -> None:
    assert drop_in(backend("[0:0::1]:80", "unix:/run/a.sock")).splitlines()[1:] == [
        "[Socket]",
        "ListenStream=[::1]:80",
        "ListenStream=/run/a.sock",
    ]
    with pytest.raises(Failure) as caught:
        drop_in(backend("unix:/run/a\nExecStartPre=/bin/sh"))
    assert caught.value.exit_code == Exit.CONFIG


def test_only_our_own_drop_ins_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "muxproxy.socket.d"
    folder.mkdir()
    (folder / "mine.conf").write_text("[Socket]\n")
    (folder / "gone.conf").write_text(f"{MARK} once\n")
    assert write(tmp_path, "muxproxy.socket", {}) == [f"removed: {folder}/gone.conf"]
    assert write(tmp_path, "muxproxy.socket", {}) == ["nothing to do"]
    assert [path.name for path in folder.iterdir()] == ["mine.conf"]
