"""A backend's configuration from keys alone, wherever in it they stand."""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Backend, Clients, Http, Queue, Tcp
from muxproxy.config.model import Upstream as UpstreamConfig


def backend(servers: tuple[str, ...], keys: dict[str, Any]) -> Backend:
    """`max_connections` is [upstream]'s, `max_clients` [clients]'s; `timeout` is [queue]'s; other keys are
    unique but for `idle_timeout`, which is [upstream]'s unless it is `client_idle_timeout`."""
    renamed = {"max_clients": "max_connections", "client_idle_timeout": "idle_timeout", "client_tls": "tls"}
    clients, queue, upstream, http, tcp = {}, {}, {}, {}, {}
    if "response_buffer" in keys and "pipeline_buffer" not in keys:  # who makes that one small means both
        clients["pipeline_buffer"] = keys["response_buffer"] * 4 // 5
    for key, value in keys.items():
        if key in renamed:
            clients[renamed[key]] = value
        elif key in UpstreamConfig.__struct_fields__:
            upstream[key] = value
        elif key in Queue.__struct_fields__:
            queue[key] = value
        elif key in Clients.__struct_fields__:
            clients[key] = value
        elif key in Http.__struct_fields__:
            http[key] = value
        elif key in Tcp.__struct_fields__:
            tcp[key] = value
        else:
            raise TypeError(f"no key {key!r} in the configuration")
    return Backend(
        name="toys",
        protocol="toy",
        clients=Clients(listen=("127.0.0.1:1",), **clients),
        upstream=UpstreamConfig(servers=servers or ("one:1",), **upstream),
        queue=Queue(**queue),
        http=Http(**http),
        tcp=Tcp(**tcp),
    )
