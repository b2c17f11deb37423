"""The incident's client: a pool per coroutine, and another's reply would be seen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from muxproxy.incident.http.client import Client, Wrong, judge, request
from tests.incident.playing import last_word

COROUTINES = 3
Answer = Callable[[str, str], bytes]  # of a Host and a target


def test_a_proxy_is_asked_in_absolute_form() -> None:
    assert request("a:80", "/x", is_proxied=False).startswith(b"GET /x HTTP/1.1\r\nHost: a:80\r\n")
    assert request("a:80", "/x", is_proxied=True).startswith(b"GET http://a:80/x HTTP/1.1\r\nHost: a:80\r\n")


def test_a_reply_is_judged_when_it_is_whole() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    assert [judge(whole[:at], b"abc") for at in (0, 20, len(whole) - 1, len(whole))] == [False] * 3 + [True]
    for wrong, said in (
        (whole[:-3] + b"abd", "somebody else's reply"),
        (whole.replace(b"200 OK", b"503 No"), "status 503"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not an HTTP reply with a length"),
        (b"-ERR\r\n\r\n", "not an HTTP reply with a length"),
    ):
        with pytest.raises(Wrong, match=said):
            judge(wrong, b"abc")


class Server:
    def __init__(self, answer: Answer, host: str) -> None:
        self.server = socket.create_server((host, 0))
        self.address = f"{host}:{self.server.getsockname()[1]}"
        self.answer = answer
        self.accepted = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(4096):
                line, host = data.decode().split("\r\n")[:2]
                if answer := self.answer(host.removeprefix("Host: "), line.split()[1]):
                    sock.sendall(answer)
                else:
                    return


def right(host: str, target: str) -> bytes:
    body = f"{host.partition(':')[0]}/{target.rpartition(':')[2].partition('/')[2]}\n"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def asked(hosts: list[str], proxy: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    order = {"hosts": hosts, "proxy": proxy, "coroutines": COROUTINES, "rates": (200, 200), "seconds": 0.15}
    return last_word(Client, order, monkeypatch)


@pytest.mark.parametrize("is_proxied", [False, True])
def test_every_coroutine_has_a_connection_to_every_host(
    monkeypatch: pytest.MonkeyPatch, is_proxied: bool
) -> None:
    servers = [Server(right, f"127.0.0.{number}") for number in (2, 3)]
    proxy = Server(right, "127.0.0.1")
    hosts = [server.address for server in servers]
    done = asked(hosts, proxy.address if is_proxied else "", monkeypatch)
    for server in (*servers, proxy):
        server.server.close()
    assert done["errors"] == {}
    assert done["replies"] > 10
    assert done["open"] == done["dialled"] == COROUTINES * len(hosts)
    assert [server.accepted for server in (*servers, proxy)] == ([0, 0, 6] if is_proxied else [3, 3, 0])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda host, target: right(host, "/another"), "somebody else's reply"),
        (lambda host, target: b"", "closed before its reply"),
    ],
)
def test_what_is_not_the_right_reply_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, error: str
) -> None:
    server = Server(answer, "127.0.0.1")
    done = asked([server.address], "", monkeypatch)
    server.server.close()
    assert done["errors"].keys() == {error}
    assert done["replies"] == 0
    assert done["open"] == 0


def test_who_cannot_connect_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert asked([address], "", monkeypatch)["errors"].keys() == {"Connection refused"}
