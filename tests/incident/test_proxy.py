"""muxproxy of a replay: with a configuration that `check` takes, and ready when it serves."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from muxproxy.config.load import examine
from muxproxy.incident.proxy import accepts, shown, start, wait
from muxproxy.incident.redis import replay
from muxproxy.stage.hosts import Host
from muxproxy.stage.stage import Broken, Stage


def test_it_serves_when_it_is_started() -> None:
    with Stage("test") as stage:
        path = stage.folder / "cache.sock"
        config = replay.CONFIG.format(listen=path, server="127.0.0.1:6379", bound=8)
        assert not accepts(Host(), str(path))
        start(stage, Host(), {"session-cache": config})
        assert accepts(Host(), str(path))
        text = shown(config, stage.folder)
        assert 'listen = ["unix:/run/muxproxy/cache.sock"]' in text


def test_what_is_printed_passes_check(tmp_path: Path) -> None:
    config = replay.CONFIG.format(listen="/run/muxproxy/a.sock", server="10.77.1.1:6379", bound=8)
    path = tmp_path / "session-cache.toml"
    path.write_text(config)
    assert examine(path).problems == []


def test_a_tcp_port_is_asked_as_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert accepts(Host(), address)
    assert not accepts(Host(), address)


def test_who_is_not_ready_in_time_is_told_of() -> None:
    with Stage("test") as stage, pytest.raises(Broken, match=r"nobody after 0\.1s"):
        wait(stage, lambda: False, "nobody", within=0.1)
