"""A muxproxy's life with systemd: what is said when, with real sockets and a manager of ours."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from muxproxy.supervisor.listening.sockets import listen
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.systemd.manager import Manager
from muxproxy.supervisor.systemd.store import name_of


class Stage:
    def __init__(self, path: str) -> None:
        self.lines: list[str] = []
        self.log = Log(lambda level, line: self.lines.append(f"{level} {line}"))
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(path)
        self.end.setblocking(False)

    def said(self) -> list[str]:
        words = []
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.end, 4096, 4)
            except BlockingIOError:
                return words
            words.append(data.decode().replace("\n", " "))
            for each in descriptors:
                os.close(each)

    def manager(self, **environ: str) -> Manager:
        return Manager(environ, os.getpid(), ["web"], self.log)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
    it = Stage(f"{tmp_path}/notify")
    yield it
    it.end.close()


@pytest.fixture
def web(tmp_path):
    it = listen(f"unix:{tmp_path}/web.sock", 1)
    yield it
    it.close()


def test_what_is_listened_on_is_kept_and_what_has_gone_is_closed_and_not_kept(stage, web, tmp_path):
    manager = stage.manager()
    manager.begin([web])
    assert stage.said() == [f"FDSTORE=1 FDNAME={name_of(web)}"]
    api = listen(f"unix:{tmp_path}/api.sock", 1)
    manager.keep([web, api])
    name = name_of(api)
    assert stage.said() == [f"FDSTORE=1 FDNAME={name}"]
    manager.keep([web], [api])
    assert stage.said() == [f"FDSTOREREMOVE=1 FDNAME={name}"]
    assert not os.path.exists(f"{tmp_path}/api.sock")
    assert stage.lines == []


def test_a_units_socket_without_a_backend_is_told_and_stays_at_hand(stage, web):
    manager = stage.manager()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = "{}:{}".format(*sock.getsockname())
    of_a_unit = listen(address, 1)
    object.__setattr__(of_a_unit, "unit", "muxproxy.socket")
    manager.begin([web, of_a_unit])
    assert stage.lines == []
    manager.keep([web], [of_a_unit])
    assert stage.lines == [
        "error socket of systemd is not used as it is meant "
        f'problem="muxproxy.socket: no backend listens on {address}"'
    ]
    again = manager.handed.take("web", address)
    assert again is not None
    again.close()


def test_what_a_predecessor_had_and_nobody_wants_is_not_kept_any_longer(stage, web, tmp_path):
    manager = stage.manager()
    gone = listen(f"unix:{tmp_path}/gone.sock", 1)
    name = name_of(gone)
    manager.inherit([web], lambda end: end(gone))
    assert stage.said() == [f"FDSTOREREMOVE=1 FDNAME={name}", f"FDSTORE=1 FDNAME={name_of(web)}"]
    assert gone.socket.fileno() == -1


async def test_it_beats_until_a_successor_does(stage, autojump_clock, nursery):
    manager = stage.manager(WATCHDOG_USEC="180000000", WATCHDOG_PID=str(os.getpid()))
    nursery.start_soon(manager.beat, [], lambda: "serving 0 backends")
    await trio.sleep(2.5)
    assert [words.partition(" ")[0] for words in stage.said()] == ["WATCHDOG=1"]
    manager.quiet()
    await trio.sleep(10)
    assert stage.said() == []


async def test_without_a_manager_nothing_beats(monkeypatch, stage):
    monkeypatch.delenv("NOTIFY_SOCKET")
    await stage.manager().beat([], lambda: "")
