"""Canaries: secrets that go in at every place where one can, and may come out nowhere else.

The servers mean harm: they repeat what they are told (Redis does, with `rename-command AUTH ""`), and break
the protocol with other clients' data. Looked at are the log at every level, /status, /metrics, `muxproxy
status` and `check`, what clients are told, and the processes' command lines and environments.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muxproxy.supervisor.interpreter import program
from tests.system.process import wait_for
from tests.system.proxy import AdminConnection, Proxy

OURS, THEIRS, REPLY, INPUT = "ca-ours-7Xq", "ca-theirs-9Zt", "ca-reply-3Kd", "ca-input-5Vb"
CANARIES = (OURS, THEIRS, REPLY, INPUT)


class Parrot:
    """A server that answers each chunk as it is told to, in a thread for each connection."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(65536):
                peer.sendall(self._answer(data))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def parrots(namespace: None) -> Iterator[Callable[[Callable[[bytes], bytes]], str]]:
    with contextlib.ExitStack() as stack:

        def parrot(answer: Callable[[bytes], bytes]) -> str:
            return stack.enter_context(contextlib.closing(Parrot(answer))).address

        yield parrot


def says(proxy: Proxy, data: bytes, until: int = 1) -> bytes:
    """What one client hears of it: something, and so many lines, or all until it is closed."""
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        client.sendall(data)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while (not heard or heard.count(b"\n") < until) and (more := client.recv(65536)):
                heard += more
        return heard


def page(proxy: Proxy, target: str) -> str:
    connection = AdminConnection(str(proxy.admin))
    with contextlib.closing(connection):
        connection.request("GET", target)
        return connection.getresponse().read().decode()


def everything(proxy: Proxy) -> str:
    """What whoever looks at it from outside can see."""
    seen = [page(proxy, "/status"), page(proxy, "/metrics")]
    for pid in (proxy.process.pid, *proxy.workers()):
        for name in ("cmdline", "environ"):
            seen.append(Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace"))
    for command in (("status",), ("status", "--json"), ("check",)):
        told = subprocess.run(
            [*program("muxproxy"), *command, "-c", str(proxy.folder)],
            check=False,
            capture_output=True,
            text=True,
        )
        seen += [told.stdout, told.stderr]
    proxy.stop()
    return "\n".join([*seen, proxy.log()])


def found(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def redis(level: str, address: str) -> Proxy:
    return Proxy(
        address,
        protocol="redis",
        node={"log_level": level},
        upstream={"max_connections": 1, "backoff_min": "1ms", "backoff_max": "2ms"},
        queue={"timeout": "500ms"},
        redis={"username": "mux", "password": OURS, "client_password": THEIRS},
    )


def refusing(data: bytes) -> bytes:
    """`rename-command AUTH ""`, and for the rest a server that says whatever it has heard."""
    return b"-ERR unknown command 'AUTH', with args beginning with: 'mux' '" + OURS.encode() + b"' \r\n" * 3


def spoiling(data: bytes) -> bytes:
    """AUTH and CLIENT SETNAME are well; then one client's reply breaks the protocol."""
    if b"AUTH" in data:
        return b"+OK\r\n" * 2
    return b"$" + REPLY.encode() + b"\r\n" + REPLY.encode() + b"\r\n"


LOGIN = f"AUTH {THEIRS}\r\n".encode()


@pytest.mark.parametrize("answer", [refusing, spoiling])
def test_no_secret_leaves_a_redis_backend(
    parrots: Callable[..., str], answer: Callable[[bytes], bytes]
) -> None:
    with redis("debug", parrots(answer)) as proxy:
        heard = says(proxy, LOGIN + b"GET a\r\n", 2)
        assert heard.startswith(b"+OK\r\n-")
        heard += says(proxy, LOGIN + b"GET a\r\nGET b\r\nGET c\r\n", 4)
        heard += says(proxy, f"AUTH {INPUT}\r\nHELLO 2 AUTH default {INPUT}\r\n".encode(), 2)
        for garbage in (f"*1\r\n{INPUT}\r\n", f"*{INPUT}\r\n", f'GET "{INPUT}\r\n', f"*1\r\n${INPUT}\r\n"):
            heard += says(proxy, garbage.encode(), 1)
        assert found(heard.decode()) == []
        assert found(everything(proxy)) == []


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_nor_does_the_log_show_one_at_another_level(parrots: Callable[..., str], level: str) -> None:
    with redis(level, parrots(refusing)) as proxy:
        assert says(proxy, LOGIN + b"GET a\r\n", 2).startswith(b"+OK\r\n-")
        proxy.stop()
        assert found(proxy.log()) == []


def test_no_secret_leaves_a_dubbo_backend(parrots: Callable[..., str]) -> None:
    call = b"\xda\xbb\xc2\x00" + bytes(7) + b"\x01" + bytes(3) + b"\x01N"
    server = parrots(lambda data: f"{REPLY} {REPLY}\r\n".encode())
    with Proxy(server, protocol="dubbo", node={"log_level": "debug"}) as proxy:
        heard = says(proxy, call, 0)
        assert heard.startswith(b"\xda\xbb")
        assert says(proxy, INPUT.encode() * 3, 0) == b""
        wait_for(lambda: proxy.outcomes().get("bad_request"), within=20, what="it is counted")
        assert found(heard.decode(errors="replace")) == []
        assert found(everything(proxy)) == []


def test_no_secret_leaves_an_http_backend(parrots: Callable[..., str]) -> None:
    """Its field's name goes to the client whose reply it was, and to nobody else."""
    bad = f"HTTP/1.1 200 OK\r\nX-{REPLY}: a\x00{REPLY}\r\n{REPLY}\r\n\r\n".encode()
    with Proxy(parrots(lambda data: bad), node={"log_level": "debug"}) as proxy:
        connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)
        connection.request("GET", f"/?token={INPUT}", headers={"Cookie": INPUT})
        assert connection.getresponse().status == 502
        connection.close()
        for garbage in (
            f"GET /{INPUT}\r\n\r\n",
            f"{INPUT}\x00\r\n\r\n",
            f"GET / HTTP/1.1\r\n{INPUT}\r\n\r\n",
        ):
            assert says(proxy, garbage.encode(), 0).startswith(b"HTTP/1.1 400 ")
        assert found(everything(proxy)) == []
