"""What operators ask and are told: pages to read, and commands. openapi.py describes them.

    GET   /healthz                    200: the process lives
    GET   /readyz[?backend=NAME]      200: every backend can serve, or that one; 503: which cannot, and why
    GET   /status, /status/schema     JSON, and its JSON schema
    GET   /metrics                    for Prometheus
    GET   /openapi.json
    GET   /backends/NAME              its part of the status
    POST  /reload                     {"dry_run": true}: what it would do
    POST  /upgrade                    another muxproxy takes over
    POST  /backends/NAME/pause, resume, reconnect, drain
    PATCH /backends/NAME              {"max_connections": 12, "max_waiting": 100}

Errors are problem+json (RFC 9457). A command takes exactly what is written there: one that is misspelt must
not do more than was meant (`?sever=10.0.0.5:80` would drain all). Each change is logged with who asked.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec
import trio

from muxproxy import __version__
from muxproxy.config.keys import BACKEND_NAME
from muxproxy.errors import ConfigError, OperatorError
from muxproxy.metrics.exposition import CONTENT_TYPE, exposition
from muxproxy.supervisor.admin.connections import Reply, Request
from muxproxy.supervisor.admin.live import UnknownError
from muxproxy.supervisor.admin.openapi import DESCRIPTION, STATUS_SCHEMA
from muxproxy.supervisor.listening.sockets import ListenError
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.status import unready

JSON = "application/json"
PROBLEM = "application/problem+json"
TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# Anybody may read over TCP, and as often as he likes: workers are asked, and pages made, so often for him.
SHOWN_FOR = 0.1  # seconds


class Source(Protocol):
    """Whom the pages ask."""

    state: str  # starting | serving | draining

    async def report(self) -> dict[str, Any]: ...


class Doer(Protocol):
    """Who carries commands out (commands.py). All of these may raise OperatorError."""

    async def reload(self, *, dry_run: bool = False) -> dict[str, Any]: ...

    async def upgrade(self) -> int: ...

    async def pause(self, name: str) -> None: ...

    async def resume(self, name: str, server: str = "") -> None: ...

    async def reconnect(self, name: str, server: str = "") -> None: ...

    async def drain(self, name: str, server: str = "") -> None: ...

    async def set(self, name: str, numbers: Mapping[str, object]) -> None: ...


class _Asked(msgspec.Struct):
    """A request, taken apart."""

    request: Request
    name: str  # of a backend, where the path has one
    query: dict[str, str]


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Reload(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False


Handler = Callable[["Pages", _Asked], Awaitable[Reply]]


class Pages:
    def __init__(
        self, source: Source, doer: Doer, log: Log, *, only_reads: bool = False, bound: str = ""
    ) -> None:
        """`only_reads`: as over TCP, where nobody knows who asks; `bound`: the address there."""
        self.source = source
        self.doer = doer
        self.log = log
        self._only_reads = only_reads
        self._is_local = only_reads and _is_loopback(_host_of(bound))
        self._shown: dict[str, Any] = {}  # what the workers said last
        self._shown_at = -math.inf
        self._made: dict[str, Reply] = {}  # pages of that
        self._asking = trio.Lock()

    async def answer(self, request: Request) -> Reply:
        path, _, query = request.target.partition("?")
        name, template = _template(path)
        methods = _ROUTES.get(template)
        if self._is_local and not _means_here(request.host):
            return refuse(421, f"{request.host!r} is not this machine's loopback address, or localhost")
        if self._only_reads and template not in OPEN:
            return refuse(403, f"only {', '.join(OPEN)} can be read here: the rest is on the unix socket")
        if methods is None:
            return refuse(404, "there is no such page: GET /openapi.json has all of them")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None or (self._only_reads and request.method not in ("GET", "HEAD")):
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            if self._only_reads:
                allowed = ["GET", "HEAD"]
            return refuse(405, f"this page takes {', '.join(allowed)}")._replace(allow=", ".join(allowed))
        try:
            return await handler(self, _Asked(request, name, _query(query)))
        except _RefusedError as error:
            return refuse(error.status, str(error))
        except UnknownError as error:
            return refuse(404, str(error))
        except ConfigError as error:
            problems = [dataclasses.asdict(problem) for problem in error.problems]
            return refuse(422, "the configuration has errors; nothing has been changed", problems=problems)
        except ListenError as error:
            return refuse(409, f"{error}; nothing has been changed", cannot_listen=str(error).splitlines())
        except OperatorError as error:
            return refuse(409, str(error))

    async def report(self) -> dict[str, Any]:
        if not self._only_reads:
            return await self.source.report()
        async with self._asking:
            if trio.current_time() >= self._shown_at + SHOWN_FOR:
                self._shown = await self.source.report()
                self._shown_at = trio.current_time()
                self._made.clear()
            return self._shown

    async def made(self, page: str, make: Callable[[dict[str, Any]], Reply]) -> Reply:
        report = await self.report()
        if not self._only_reads:
            return make(report)
        if page not in self._made:
            self._made[page] = make(report)
        return self._made[page]

    async def command(self, asked: _Asked, what: str, done: Awaitable[Any], **fields: object) -> Any:
        """Carry it out, and say who wanted it. Who asked stands there whether it could be done or not."""
        peer = asked.request.peer
        who: dict[str, Any] = {} if peer is None else {"uid": peer.uid, "pid": peer.pid}
        fields = {"backend": asked.name, **fields} if asked.name else fields
        shown = {key: value for key, value in fields.items() if value != ""}
        try:
            result = await done
        except OperatorError as error:
            self.log.warning("admin change refused", change=what, **shown, **who, problem=str(error))
            raise
        self.log.info("admin change", change=what, **shown, **who)
        return result


def _host_of(text: str) -> str:
    """HOST:PORT, HOST or [HOST]:PORT without the port."""
    bracketed = re.fullmatch(r"\[([^]]*)](?::\d*)?", text)
    return bracketed[1] if bracketed else re.sub(r":\d*$", "", text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _means_here(host: str) -> bool:
    """Where only this machine can ask, a browser may be made to: by a page from anywhere whose name suddenly
    means 127.0.0.1 (DNS rebinding), and which may then read what it likes. It asks by that name."""
    name = _host_of(host).lower().rstrip(".")
    return name in ("", "localhost") or name.endswith(".localhost") or _is_loopback(name)


# -- pages -----------------------------------------------------------------------------------------------


async def _healthz(pages: Pages, asked: _Asked) -> Reply:
    """Whoever answers lives."""
    return Reply(200, JSON, _json({"state": pages.source.state}))


async def _readyz(pages: Pages, asked: _Asked) -> Reply:
    name = asked.query.get("backend")
    report = await pages.report()
    if name is not None and name not in report["backends"]:
        return refuse(404, f"there is no backend {name!r}")
    cannot = unready(report, name or "")
    if cannot:
        return refuse(503, "; ".join(f"{who}: {why}" for who, why in cannot.items()), cannot=cannot)
    return Reply(200, JSON, _json({"state": pages.source.state}))


async def _status(pages: Pages, asked: _Asked) -> Reply:
    return await pages.made("/status", lambda report: Reply(200, JSON, _json(report)))


async def _status_schema(pages: Pages, asked: _Asked) -> Reply:
    return Reply(200, "application/schema+json", _json(STATUS_SCHEMA))


async def _openapi(pages: Pages, asked: _Asked) -> Reply:
    return Reply(200, JSON, _json(DESCRIPTION))


async def _metrics(pages: Pages, asked: _Asked) -> Reply:
    def make(report: dict[str, Any]) -> Reply:
        text = exposition(__version__, report["workers"], report["backends"])
        return Reply(200, CONTENT_TYPE, text.encode())

    return await pages.made("/metrics", make)


async def _backend(pages: Pages, asked: _Asked) -> Reply:
    report = await pages.report()
    if asked.name not in report["backends"]:
        return refuse(404, f"there is no backend {asked.name!r}")
    return Reply(200, JSON, _json(report["backends"][asked.name]))


# -- commands --------------------------------------------------------------------------------------------


async def _reload(pages: Pages, asked: _Asked) -> Reply:
    _expect_query(asked)
    wanted = _body(asked, _Reload) if asked.request.body else _Reload()
    if wanted.dry_run:
        told = await pages.doer.reload(dry_run=True)
    else:
        told = await pages.command(asked, "reload", pages.doer.reload())
    if told["refused"]:
        return refuse(409, "a running muxproxy cannot change all of this; nothing has been changed", **told)
    return Reply(200, JSON, _json(told))


async def _upgrade(pages: Pages, asked: _Asked) -> Reply:
    _expect_no_body(asked)
    _expect_query(asked)
    return Reply(200, JSON, _json({"pid": await pages.command(asked, "upgrade", pages.doer.upgrade())}))


async def _pause(pages: Pages, asked: _Asked) -> Reply:
    _expect_no_body(asked)
    _expect_query(asked)
    await pages.command(asked, "pause", pages.doer.pause(asked.name))
    return await _backend(pages, asked)


async def _resume(pages: Pages, asked: _Asked) -> Reply:
    server = _expect_server(asked)
    await pages.command(asked, "resume", pages.doer.resume(asked.name, server), server=server)
    return await _backend(pages, asked)


async def _reconnect(pages: Pages, asked: _Asked) -> Reply:
    server = _expect_server(asked)
    await pages.command(asked, "reconnect", pages.doer.reconnect(asked.name, server), server=server)
    return await _backend(pages, asked)


async def _drain(pages: Pages, asked: _Asked) -> Reply:
    server = _expect_server(asked)
    await pages.command(asked, "drain", pages.doer.drain(asked.name, server), server=server)
    return await _backend(pages, asked)


async def _set(pages: Pages, asked: _Asked) -> Reply:
    _expect_query(asked)
    numbers = _body(asked, dict[str, Any])
    if not numbers:
        raise _RefusedError(400, "nothing is set: such as {" + '"max_connections": 12}')
    shown = {key: value for key, value in numbers.items() if isinstance(value, int)}
    text = " ".join(f"{key}={value}" for key, value in shown.items())
    await pages.command(asked, "set", pages.doer.set(asked.name, numbers), numbers=text[:200])
    return await _backend(pages, asked)


_ROUTES: dict[str, dict[str, Handler]] = {
    "/healthz": {"GET": _healthz},
    "/readyz": {"GET": _readyz},
    "/status": {"GET": _status},
    "/status/schema": {"GET": _status_schema},
    "/metrics": {"GET": _metrics},
    "/openapi.json": {"GET": _openapi},
    "/reload": {"POST": _reload},
    "/upgrade": {"POST": _upgrade},
    "/backends/{name}": {"GET": _backend, "PATCH": _set},
    "/backends/{name}/pause": {"POST": _pause},
    "/backends/{name}/resume": {"POST": _resume},
    "/backends/{name}/reconnect": {"POST": _reconnect},
    "/backends/{name}/drain": {"POST": _drain},
}
OPEN = ("/metrics", "/status", "/healthz", "/readyz")  # that may be read over TCP
_BACKEND = re.compile(r"/backends/([^/]+)(/[a-z]+)?")


def _template(path: str) -> tuple[str, str]:
    """The backend's name, if there is one, and the page as it stands in the table."""
    found = _BACKEND.fullmatch(path)
    if found is None:
        return "", path
    name = unquote(found[1])
    return name, f"/backends/{{name}}{found[2] or ''}" if BACKEND_NAME.fullmatch(name) else path


# -- what is asked ---------------------------------------------------------------------------------------


def _query(text: str) -> dict[str, str]:
    """Raises _RefusedError."""
    pairs = parse_qsl(text, keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise _RefusedError(400, "a parameter stands there twice")
    return dict(pairs)


def _expect_query(asked: _Asked, *known: str) -> None:
    for key in asked.query:
        if key not in known:
            raise _RefusedError(400, f"no such parameter: {key!r}")


def _expect_no_body(asked: _Asked) -> None:
    if asked.request.body:
        raise _RefusedError(400, "this takes no body; a server stands in the query: ?server=ADDRESS")


def _expect_server(asked: _Asked) -> str:
    _expect_no_body(asked)
    _expect_query(asked, "server")
    if asked.query.get("server") == "":
        raise _RefusedError(400, "no server is named")
    return asked.query.get("server", "")


def _body(asked: _Asked, kind: Any) -> Any:
    """As JSON. Raises _RefusedError."""
    media = asked.request.content_type.partition(";")[0].strip().lower()
    if media not in ("", JSON, "application/merge-patch+json"):
        raise _RefusedError(415, f"{JSON} is taken")
    try:
        return msgspec.json.decode(asked.request.body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _RefusedError(400, f"not what is taken: {error}") from None


# -- what is answered ------------------------------------------------------------------------------------


def refuse(status: int, detail: str, **more: object) -> Reply:
    """RFC 9457; `about:blank`, the default of `type`: no more than the status says, and `detail`."""
    told = {"title": TITLES.get(status, "Error"), "status": status, "detail": detail, **more}
    return Reply(status, PROBLEM, _json(told))


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
