"""An origin that answers byte for byte as a test says: what no real server can be made to do at will."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.system.origins import listening

# The connection, and one request head that has come on it. False: nothing more is read there.
Answer = Callable[[socket.socket, bytes], "bool | None"]


class Scripted:
    """A thread for each connection: `answer` is called for each head."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = listening()
        self.address = "{}:{}".format(*self._listener.getsockname())
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        with sock, contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in data:
                    more = sock.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                if self._answer(sock, head + b"\r\n\r\n") is False:
                    return

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
