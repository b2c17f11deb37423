"""The protocols: bytes <-> frames, and what a session or a connection remembers. No socket, no clock.

`contract.py` is the seam. A protocol is one folder and one line in PROTOCOLS.
"""

from __future__ import annotations

from collections.abc import Callable

from muxproxy.config.model import Backend
from muxproxy.protocols.contract import Protocol
from muxproxy.protocols.dubbo import DubboProtocol
from muxproxy.protocols.http import HttpProtocol, authority
from muxproxy.protocols.http.forward.protocol import ForwardProtocol
from muxproxy.protocols.redis import RedisProtocol
from muxproxy.protocols.tcp import TcpProtocol


def _http(backend: Backend) -> Protocol:
    if backend.upstream.to == "host":
        return ForwardProtocol(backend)
    return HttpProtocol(backend.http, authority(backend))


def _dubbo(backend: Backend) -> Protocol:
    return DubboProtocol(backend.dubbo)


def _redis(backend: Backend) -> Protocol:
    return RedisProtocol(backend.redis, backend.name, max_in_flight=backend.upstream.max_in_flight)


def _tcp(backend: Backend) -> Protocol:
    return TcpProtocol(backend.tcp)


PROTOCOLS: dict[str, Callable[[Backend], Protocol]] = {
    "http": _http,
    "dubbo": _dubbo,
    "redis": _redis,
    "tcp": _tcp,
}


def build(backend: Backend) -> Protocol:
    """The backend's protocol as it is configured. The configuration has been checked: the name is known."""
    return PROTOCOLS[backend.protocol](backend)
