"""Files that say otherwise than by servers where requests go."""

from __future__ import annotations

from muxproxy.config.load import load
from muxproxy.config.model import Route, RouteQueue, Upstream
from tests.config.conftest import Write
from tests.config.test_load import LEAST, problems

ROUTES = """
[[http.routes]]
host = "orders.internal"
servers = ["10.0.0.5:80"]
max_connections = 16
queue = { max_waiting = 0, timeout = "1s" }
[[http.routes]]
host = "*.example.com"
tls = true
"""


def test_where_requests_go_may_be_said_otherwise_than_by_servers(write: Write) -> None:
    text = (
        LEAST.replace("servers = ", 'to = "host"\nallow = ["*.internal"]\ndeny = ["10.0.0.0/8"]\n# ') + ROUTES
    )
    (backend,) = load(write("backends/a.toml", text)).backends
    assert backend.upstream == Upstream(to="host", allow=("*.internal",), deny=("10.0.0.0/8",))
    assert backend.http.routes == (
        Route("orders.internal", ("10.0.0.5:80",), 16, queue=RouteQueue(0, 1.0)),
        Route("*.example.com", tls=True),
    )
    assert backend.listeners == ("127.0.0.1:8080",)
    assert backend.pseudonym.startswith("muxproxy-")
    wrong = (
        text.replace('host = "*.example.com"', "")
        .replace('"10.0.0.5:80"', '"http://a"')
        .replace("= 0,", "= -1,")
    )
    assert problems(write("backends/a.toml", wrong)) == [
        'backends/a.toml: http.routes[1].servers = "http://a": a host and a port, such as 10.0.0.5:80, '
        "api.internal:80, [fd00::5]:80 or unix:/run/app.sock; without the scheme",
        "backends/a.toml: http.routes[1].queue.max_waiting = -1: a whole number from 0 to 1000000, without "
        "quotes",
        "backends/a.toml: http.routes[2].host: missing",
    ]
    assert problems(write("backends/a.toml", text.replace('"host"', '"hosts"'))) == [
        'backends/a.toml: upstream.to = "hosts": one of servers, original, host'
    ]
