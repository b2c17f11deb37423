"""muxproxy of a replay: with a configuration that `check` takes. (The replays start it.)"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from muxproxy.config.load import examine
from muxproxy.incident.proxy import accepts, shown, wait
from muxproxy.incident.redis import replay
from muxproxy.stage.hosts import Host
from muxproxy.stage.stage import Broken, Stage


def test_what_is_printed_passes_check(tmp_path: Path) -> None:
    listen = tmp_path / "stage" / "a.sock"
    config = shown(replay.CONFIG.format(listen=listen, server="10.77.1.1:6379", bound=8), listen.parent)
    assert 'listen = ["unix:/run/muxproxy/a.sock"]' in config
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
