"""`muxproxy systemd`: what it prints is what it writes, and it removes nothing that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.exits import Exit
from muxproxy.cli.main import cli
from muxproxy.cli.systemd.units import UNITS

WEB = 'protocol = "http"\n[clients]\nlisten = [{}]\n[upstream]\nservers = ["10.0.0.5:80"]\n'


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc/backends").mkdir(parents=True)
    return tmp_path / "etc"


def write(etc: Path, name: str, *listen: str) -> None:
    text = WEB.format(", ".join(f'"{each}"' for each in listen))
    (etc / f"backends/{name}.toml").write_text(text)


def systemd(etc: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["systemd", "-c", str(etc), *options])


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_each_backend_has_a_drop_in_with_all_its_addresses(etc: Path) -> None:
    write(etc, "web", "127.0.0.1:8080", "[::1]:8080", "unix:/run/mux proxy/100%.sock")
    write(etc, "api", "127.0.0.1:0")
    out = systemd(etc).output
    assert out.startswith("# muxproxy.socket\n" + UNITS["muxproxy.socket"])
    drop_ins = out.removeprefix("# muxproxy.socket\n" + UNITS["muxproxy.socket"])
    assert "# muxproxy.socket.d/api.conf" in drop_ins
    assert "# 127.0.0.1:0: muxproxy binds that itself" in drop_ins
    assert lines(drop_ins.partition("# muxproxy.socket.d/web.conf")[2]) == [
        "[Socket]",
        "ListenStream=127.0.0.1:8080",
        "ListenStream=[::1]:8080",
        "ListenStream=/run/mux proxy/100%%.sock",  # systemd.unit(5), specifiers
    ]


def test_it_writes_what_has_changed_and_removes_what_has_gone(etc: Path, tmp_path: Path) -> None:
    write(etc, "web", "127.0.0.1:8080")
    write(etc, "api", "127.0.0.1:8081")
    units = tmp_path / "units"
    drop_ins = units / "muxproxy.socket.d"
    done = systemd(etc, "--write", str(units))
    assert done.output.splitlines() == [
        f"written: {units}/muxproxy.socket",
        f"written: {drop_ins}/api.conf",
        f"written: {drop_ins}/web.conf",
    ]
    assert systemd(etc, "--write", str(units)).output == "nothing to do\n"
    (drop_ins / "local.conf").write_text("[Socket]\nBacklog=9\n")  # the operator's own
    (etc / "backends/api.toml").unlink()
    write(etc, "web", "127.0.0.1:8082")
    assert systemd(etc, "--write", str(units)).output.splitlines() == [
        f"written: {drop_ins}/web.conf",
        f"removed: {drop_ins}/api.conf",
    ]
    assert sorted(path.name for path in drop_ins.iterdir()) == ["local.conf", "web.conf"]
    assert "ListenStream=127.0.0.1:8082" in (drop_ins / "web.conf").read_text()


def test_an_instance_has_its_own_drop_ins(etc: Path, tmp_path: Path) -> None:
    write(etc, "web", "127.0.0.1:8080")
    done = systemd(etc, "--instance", "blue", "--write", str(tmp_path / "units"))
    assert done.exit_code == Exit.OK
    assert (tmp_path / "units/muxproxy@.socket").read_text() == UNITS["muxproxy@.socket"]
    assert (tmp_path / "units/muxproxy@blue.socket.d/web.conf").exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", "a@b", "ä"])
def test_an_instance_has_a_name_that_needs_no_escape(etc: Path, name: str) -> None:
    write(etc, "web", "127.0.0.1:8080")
    assert systemd(etc, "--instance", name).exit_code == Exit.USAGE


def test_a_path_cannot_say_more_than_where_to_listen(etc: Path, tmp_path: Path) -> None:
    write(etc, "web", r"unix:/run/x\nExecStartPre=/bin/sh")
    done = systemd(etc, "--write", str(tmp_path / "units"))
    assert done.exit_code == Exit.CONFIG
    assert not (tmp_path / "units").exists()


def test_a_configuration_with_errors_changes_nothing(etc: Path, tmp_path: Path) -> None:
    write(etc, "web", "localhost:8080")
    done = systemd(etc, "--write", str(tmp_path / "units"))
    assert (done.exit_code, "an IP address, not a name" in done.output) == (Exit.CONFIG, True)
    assert not (tmp_path / "units").exists()


def test_a_place_that_cannot_be_written_is_told(etc: Path, tmp_path: Path) -> None:
    write(etc, "web", "127.0.0.1:8080")
    (tmp_path / "units").mkdir()
    (tmp_path / "units/muxproxy.socket.d").write_text("")
    done = systemd(etc, "--write", str(tmp_path / "units"))
    assert done.exit_code == Exit.CANNOT_START
    assert "muxproxy.socket.d" in done.output
