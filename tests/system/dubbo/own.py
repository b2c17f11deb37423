"""The own programs of these tests, started: shufflers (providers) and callers (consumers)."""

from __future__ import annotations

import socket
from typing import Any

from tests.system.process import Child

HOSTS = ("127.0.0.2", "127.0.0.3")


def listening(host: str = HOSTS[0], port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(4096)
    return sock


class Shuffler:
    """shuffler.py in a process of its own, which can be killed and come back to its port."""

    def __init__(self, host: str = HOSTS[0], port: int = 0, **orders: Any) -> None:
        self.host, self.port, self.orders = host, port, orders
        self.start()

    def start(self) -> None:
        with listening(self.host, self.port) as sock:
            self.port = sock.getsockname()[1]
            orders = {"fd": sock.fileno()} | self.orders
            self.child = Child("tests.system.dubbo.shuffler", orders, [sock.fileno()])

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def stats(self) -> dict[str, Any]:
        """What it saw so far."""
        self.child.tell("stats")
        return dict(self.child.answer(within=20))

    def release(self) -> None:
        """Calls that it holds are answered, later ones after `slow` seconds."""
        self.child.tell("release")
        self.child.answer(within=20)

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()
        self.child.close()

    def close(self) -> None:
        self.child.close()

    def __enter__(self) -> Shuffler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pair(**orders: Any) -> tuple[Shuffler, Shuffler]:
    """Two providers."""
    return Shuffler(HOSTS[0], seed=1, **orders), Shuffler(HOSTS[1], seed=2, **orders)


class Callers(Child):
    """callers.py in a process of its own."""

    def __init__(self, host: str, port: int, **orders: Any) -> None:
        super().__init__("tests.system.dubbo.callers", {"host": host, "port": port} | orders)

    def go(self) -> None:
        """Those that wait call, all at once."""
        self.tell("go")

    def ends(self, within: float = 120.0) -> dict[str, Any]:
        """When all calls have ended: how, by name, and more."""
        answer = dict(self.answer(within))
        self.stop()
        assert self.process.wait(20) == 0
        self.close()
        return answer
