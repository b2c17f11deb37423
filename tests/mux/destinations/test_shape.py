"""One destination's part of a backend is a backend as any other."""

from __future__ import annotations

from msgspec.structs import replace

from muxproxy.config.model import Upstream, UpstreamTls
from muxproxy.mux.destinations.shape import backend_for
from tests.config.models import with_keys
from tests.mux.destinations.city import config, place


def test_it_has_one_server_and_its_own_bound() -> None:
    upstream = backend_for(config({"max_connections": 20, "min_connections": 3}), place(1)).upstream
    assert (upstream.servers, upstream.max_connections, upstream.min_connections) == (("10.0.0.1:80",), 8, 0)


def test_no_bound_of_it_is_above_the_whole_ones() -> None:
    upstream = backend_for(config({"max_connections": 3, "max_pinned": 3}), place(1)).upstream
    assert (upstream.max_connections, upstream.max_pinned) == (3, 3)
    keys = {"max_connections": 9, "max_pinned": 5, "max_connections_each": 2}
    assert backend_for(config(keys), place(1)).upstream.max_pinned == 2


def test_tls_is_for_those_hosts_that_are_asked_for_by_it() -> None:
    hosts = replace(config({}), upstream=Upstream(to="host"))
    how = UpstreamTls(ca_file="/ca.pem")
    for backend, asked, expected in (
        (hosts, place(1), None),
        (hosts, place(1)._replace(tls=True), UpstreamTls()),
        (with_keys(hosts, {"upstream.tls": how}), place(1)._replace(tls=True), how),
        (with_keys(hosts, {"upstream.tls": how}), place(1), None),
        (with_keys(config({}), {"upstream.tls": how}), place(1), how),
    ):
        assert backend_for(backend, asked).upstream.tls == expected
