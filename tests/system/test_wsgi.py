"""uWSGI and gunicorn, real ones: they end connections when clients of keep-alive do not expect it."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter

from tests.system.proxy import Proxy
from tests.system.wsgi import Wsgi

CLIENTS, EACH, CONNECTIONS = 16, 100, 8


def posts(proxy: Proxy, outcomes: Counter[object], name: str) -> None:
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
    for number in range(EACH):
        body = f"{name} {number}".encode()
        connection.request("POST", "/", body)
        reply = connection.getresponse()
        outcomes[(reply.status, reply.read() == body)] += 1
    connection.close()


BODY = 4 * 1024 * 1024  # bytes: more than the sockets on the way take


def upload(host: str, port: int) -> bytes:
    """A POST that is refused early: the reply, for a client that sends on until it cannot, and then reads."""
    with socket.create_connection((host, port), 30) as sock:
        try:
            sock.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY)
            for _ in range(BODY // 65536):
                sock.sendall(b"x" * 65536)
        except OSError:
            pass
        data = b""
        try:
            while not data.endswith(b"too large") and (more := sock.recv(65536)):
                data += more
        except OSError:
            pass
        return data


def test_a_refusal_in_the_middle_of_an_upload_reaches_the_client() -> None:
    with Wsgi("gunicorn") as server, Proxy(server.address) as proxy:
        outcomes = Counter(upload(proxy.host, proxy.port).partition(b"\r\n")[0] for _ in range(30))
        print(outcomes, proxy.outcomes())
    assert outcomes == {b"HTTP/1.1 413 Request Entity Too Large": 30}


def test_a_server_that_closes_after_each_reply_without_saying_so_costs_no_post() -> None:
    """Neither the first nor any other, though somebody waits for every connection that has had its reply."""
    outcomes: Counter[object] = Counter()
    with Wsgi("uwsgi") as server, Proxy(server.address, upstream={"max_connections": CONNECTIONS}) as proxy:
        threads = [threading.Thread(target=posts, args=(proxy, outcomes, f"c{n}")) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        backend = proxy.backend()
    print(outcomes, backend["closed"], backend["events"])
    assert outcomes == {(200, True): CLIENTS * EACH}
    assert backend["events"]["rests"] >= CLIENTS * EACH  # each connection, until its server ended it
