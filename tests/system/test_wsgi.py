"""uWSGI and gunicorn, real ones: they end connections when clients of keep-alive do not expect it."""

from __future__ import annotations

import http.client
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
