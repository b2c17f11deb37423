"""The incident's client: its commands are Redis's own, and another's reply would be seen."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from muxproxy.incident.redis import client as module
from muxproxy.incident.redis.client import get, value
from tests.incident.playing import last_word


def test_commands_and_values_are_as_redis_takes_them() -> None:
    assert get(7) == b"*2\r\n$3\r\nGET\r\n$5\r\nkey:7\r\n"
    assert value(12).startswith(b"12:x")
    assert len(value(12)) == module.VALUE


class Redis(threading.Thread):
    """Answers `GET key:N` and CLIENT PAUSE; every tenth GET with `wrong`, if there is any."""

    def __init__(self, path: Path, wrong: bytes) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(100)
        self.wrong, self.asked = wrong, 0
        self.start()

    def run(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(4096):
                if b"PAUSE" in data:
                    sock.sendall(b"+OK\r\n")
                    continue
                self.asked += 1
                key = int(data.rpartition(b"key:")[2])
                right = b"$%d\r\n%s\r\n" % (module.VALUE, value(key))
                sock.sendall(self.wrong if self.wrong and self.asked % 10 == 0 else right)


def played(path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool = False) -> dict[str, Any]:
    """The client's last word."""
    order = {
        "address": str(path),
        "held": str(path),
        "hold": 1,
        "pool": {"max_idle": 2, "max_active": 20, "wait": wait},
        "burst": (10, 12),
        "every": 0.001,
        "seconds": 0.0,
        "bursts": 5,
        "until": "",
    }
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    return last_word(module.Client, order, monkeypatch)


@pytest.mark.parametrize("wait", [False, True])
def test_what_is_beyond_max_idle_is_dialled_again_at_every_burst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    Redis(tmp_path / "r.sock", b"")
    done = played(tmp_path / "r.sock", monkeypatch, wait)
    assert done["errors"] == {}
    assert 50 <= done["replies"] <= 60
    assert done["open"] == 2
    assert done["dialled"] == done["replies"] - 2 * 4  # two were idle at each burst but the first


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"$100\r\n1:2:3".ljust(108, b"x") + b"\r\n", "somebody else's reply"),
        (b"-OVERLOADED too many\r\n", "-OVERLOADED too many"),
    ],
)
def test_a_reply_that_is_not_the_right_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bytes, said: str
) -> None:
    Redis(tmp_path / "r.sock", wrong)
    done = played(tmp_path / "r.sock", monkeypatch)
    assert done["errors"].keys() == {said}
    assert done["errors"][said] == (done["replies"] + sum(done["errors"].values())) // 10


def test_who_cannot_dial_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Redis(tmp_path / "r.sock", b"")
    monkeypatch.setattr(module.socket.socket, "connect_ex", lambda *_: 99)
    done = played(tmp_path / "r.sock", monkeypatch)
    assert done["replies"] == 0
    assert done["errors"].keys() == {"dial: connect: Cannot assign requested address"}
