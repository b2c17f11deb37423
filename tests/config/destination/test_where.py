"""What `check --where` tells of a URL."""

from __future__ import annotations

import pytest

from muxproxy.config.destination.where import told
from muxproxy.config.model import Backend, Route, RouteQueue
from tests.config import models

ROUTES = (
    Route("orders.internal", ("10.9.0.1:80", "10.9.0.2:80"), 16, queue=RouteQueue(timeout=1.0)),
    Route("*.example.com", tls=True),
)
NAMES = {"a.internal": ["10.0.0.5", "127.0.0.1", "10.0.0.5"], "api.example.com": ["10.0.0.7"]}


def lines(backend: Backend, url: str) -> list[str]:
    def resolve(name: str) -> list[str]:
        if name not in NAMES:
            raise OSError(-2, "Name or service not known")
        return NAMES[name]

    return [line.removeprefix("alpha: ") for line in told(backend, url, resolve, "10.0.0.7".__eq__)]


def proxy(**written: object) -> Backend:
    return models.backend(upstream__to="host", upstream__servers=(), http__routes=ROUTES, **written)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "http://Orders.internal/x?y",
            [
                'http://Orders.internal/x?y goes to orders.internal:80, http.routes[1], "orders.internal"',
                "allowed: to 10.9.0.1:80, 10.9.0.2:80, which are the route's",
            ],
        ),
        (
            "http://a.internal",
            [
                "http://a.internal goes to a.internal:80",
                "10.0.0.5: allowed",
                "127.0.0.1: denied: 127.0.0.1 is loopback: only a network in allow says otherwise",
            ],
        ),
        (
            "http://api.example.com/",
            [
                'http://api.example.com/ goes to api.example.com:443 by TLS, http.routes[2], "*.example.com"',
                "10.0.0.7: denied: muxproxy itself listens on port 443 of 10.0.0.7",
            ],
        ),
        (
            "https://a.internal:8443/",
            [
                "https://a.internal:8443/ goes to a.internal:8443 by a tunnel (CONNECT)",
                "denied: CONNECT to port 8443: only 443, or where allow says so with the port",
            ],
        ),
        (
            "http://nowhere:81",
            [
                "http://nowhere:81 goes to nowhere:81",
                "nowhere cannot be resolved here: Name or service not known",
            ],
        ),
        (
            "http://2130706433/",
            [
                "http://2130706433/ goes to 127.0.0.1:80",
                "denied: 127.0.0.1 is loopback: only a network in allow says otherwise",
            ],
        ),
    ],
)
def test_it_tells_route_destination_and_whether_it_may(url: str, expected: list[str]) -> None:
    assert lines(proxy(listeners=("0.0.0.0:443",)), url) == expected


def test_a_transparent_backend_has_neither_routes_nor_tunnels() -> None:
    backend = models.backend(upstream__to="original", upstream__servers=())
    assert lines(backend, "https://10.0.0.5/") == [
        "https://10.0.0.5/ goes to 10.0.0.5:443",
        "10.0.0.5: allowed",
    ]


@pytest.mark.parametrize("url", ["", "a", "ftp://a", "http://", "http://u@a", "http://a:0", "http://a b"])
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lines(proxy(), url)
