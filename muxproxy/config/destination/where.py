"""What `check --where URL` tells: where a request for it goes, by which route, and whether it may."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from muxproxy.config.destination.judge import Judge
from muxproxy.config.destination.spelling import Destination, authority, literal
from muxproxy.config.model import Backend, Route

_URL = re.compile(r"(https?)://([^/?#]*)(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)


def told(
    backend: Backend, url: str, resolve: Callable[[str], list[str]], is_own: Callable[[str], bool]
) -> Iterator[str]:
    """Lines. `resolve`: a name -> its addresses; raises OSError. Raises ValueError where it is no URL one
    could ask for."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("a URL, such as http://orders.internal:8080/ or https://api.example.com/")
    secure, place = match[1].lower() == "https", match[2]
    judge = Judge(backend)
    if secure:  # an app that is told of a proxy asks for a tunnel
        is_host = backend.upstream.to == "host"
        where = authority(place, port=443)._replace(tunnel=is_host)
    elif backend.upstream.to == "host":
        where = judge.named(place)
    else:
        where = authority(place, port=80)
    route = judge.route(where) if backend.upstream.to == "host" and not where.tunnel else None
    yield f"{backend.name}: {url} goes to {where}{_how(where)}{_by(backend, route)}"
    if why := judge.refuses(where):
        yield f"{backend.name}: denied: {why}"
    elif route is not None and route.servers:
        yield f"{backend.name}: allowed: to {', '.join(route.servers)}, which are the route's"
    else:
        yield from _addresses(backend, judge, where, resolve, is_own)


def _addresses(
    backend: Backend,
    judge: Judge,
    where: Destination,
    resolve: Callable[[str], list[str]],
    is_own: Callable[[str], bool],
) -> Iterator[str]:
    if literal(where.host) is not None:
        found = [where.host]
    else:
        try:
            found = resolve(where.host)
        except OSError as error:
            yield f"{backend.name}: {where.host} cannot be resolved here: {error.strerror or error}"
            return
    for address in dict.fromkeys(found):
        why = judge.refuses(where, address, is_own=is_own)
        yield f"{backend.name}: {address}: {f'denied: {why}' if why else 'allowed'}"


def _how(where: Destination) -> str:
    return " by a tunnel (CONNECT)" if where.tunnel else " by TLS" if where.tls else ""


def _by(backend: Backend, route: Route | None) -> str:
    if route is None:
        return ""
    return f', http.routes[{backend.http.routes.index(route) + 1}], "{route.host}"'
