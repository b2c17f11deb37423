"""Listening sockets: bound once by the supervisor, kept open while workers come and go.

The supervisor calls listen() itself, so that clients who arrive while a worker is being replaced wait in the
backlog and none is refused. Every listener that cannot be had is reported at once, in one ListenError.

Shards share one socket. With one each (SO_REUSEPORT) the kernel spreads better: of two bare accept loops the
busier one gets 50 to 56 % of the connections, of a shared socket 54 to 62 %, and with EPOLLEXCLUSIVE up to
all (64 and 1,000 clients that stay, and one request each). Two workers on a busy machine: 53 to 90 % of 64
clients that stay, 51 to 78 % of 1,000, half and half of one request each. But SO_REUSEPORT deals out blindly,
to a shard that stands still as well, and what waits in a socket's own backlog is reset when its shard is
taken away. Bounds suffer from neither: they are lent to where clients are.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from muxproxy.config.address import Address, parse_listen
from muxproxy.config.identity import admin_owner
from muxproxy.config.model import Config, Node
from muxproxy.errors import OperatorError
from muxproxy.supervisor.listening.places import Inode, Place

# connect() to a unix socket needs the right to write. A backend's socket stands for a localhost port, which
# anybody on the node may use (nginx gives its own the same mode); close its directory where that is too much.
BACKEND_MODE = 0o666
ADMIN_BACKLOG = 16

_ADVICE = {
    errno.EADDRINUSE: "another process listens there; stop it or choose another address",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "not permitted: a port below 1024 needs CAP_NET_BIND_SERVICE, a unix socket the right to "
    "write in its directory",
    errno.ENOENT: "its directory does not exist",
    errno.ENOTDIR: "its directory is not a directory",
    errno.EROFS: "its file system is read-only",
}


# For TPROXY: connections to other addresses than our own are accepted (linux/in.h, linux/in6.h).
_TRANSPARENT = {socket.AF_INET: (socket.SOL_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}


class ListenError(OperatorError):
    """Addresses that cannot be listened on, one line each."""


@dataclass(frozen=True, slots=True)
class Listener:
    address: str  # as configured
    bound: str  # as the kernel says: port 0 has become a number
    socket: socket.socket
    place: Place | None = None  # unix
    inode: Inode | None = None  # of the file we made there
    unit: str = ""  # of systemd's socket units, the one that has it, too

    def let_go(self) -> None:
        """Somebody else has it, too, and goes on."""
        if self.place is not None:
            self.place.close()
        self.socket.close()

    def close(self) -> None:
        """Also removes the file of a unix socket, unless somebody else's stands there by now."""
        if self.place is not None and self.inode is not None and self.socket.fileno() != -1:
            self.place.remove(self.inode)
            self.place.close()
        self.socket.close()


class Listeners:
    """All of them: `backends[name]` in the order of the configuration, and those of operators."""

    def __init__(self) -> None:
        self.backends: dict[str, list[Listener]] = {}
        self.admin: Listener | None = None
        self.admin_tcp: Listener | None = None  # only reads
        self.outlive_us = False  # backends': systemd keeps them for who comes next, and so their files stay

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.close_backends()
        for listener in self.admins():
            listener.close()

    def let_go(self) -> None:
        for listener in (*self.all_backends(), *self.admins()):
            listener.let_go()

    def admins(self) -> list[Listener]:
        return [listener for listener in (self.admin, self.admin_tcp) if listener is not None]

    def close_backends(self) -> None:
        """From now on connects are refused, once the workers have closed their copies."""
        for listener in self.all_backends():
            if self.outlive_us:
                listener.let_go()
            else:
                listener.close()

    def all_backends(self) -> Iterator[Listener]:
        for listeners in self.backends.values():
            yield from listeners


def _nobody(backend: str, text: str) -> Listener | None:
    return None


def bind(
    config: Config, admin_path: str, inherited: Callable[[str, str], Listener | None] = _nobody
) -> Listeners:
    """`inherited(backend, address)`: one that is bound already; those of operators are backend "". Raises
    ListenError; nothing stays open then."""
    listeners = Listeners()
    problems: list[str] = []
    for backend in config.backends:
        mine = listeners.backends[backend.name] = []
        for text in backend.clients.listen:
            try:
                clients = backend.clients
                made = inherited(backend.name, text)
                mine.append(made or listen(text, clients.backlog, transparent=clients.transparent))
                mine[-1].socket.listen(backend.clients.backlog)  # whoever has bound it
            except OSError as error:
                problems.append(f"backend {backend.name}: {explain(text, error)}")
    try:
        admin = f"unix:{admin_path}"
        listeners.admin = inherited("", admin) or _listen_admin(config.node, admin_path)
    except OSError as error:
        problems.append(f"admin socket: {explain(f'unix:{admin_path}', error)}")
    if config.node.admin_tcp:
        try:
            tcp = config.node.admin_tcp
            listeners.admin_tcp = inherited("", tcp) or listen(tcp, ADMIN_BACKLOG)
        except OSError as error:
            problems.append(f"admin_tcp: {explain(config.node.admin_tcp, error)}")
    if problems:
        listeners.close()
        raise ListenError("\n".join(problems))
    return listeners


def listen(text: str, backlog: int, *, transparent: bool = False) -> Listener:
    """One listening socket for clients. Raises OSError."""
    address = parse_listen(text)
    if address.kind == "unix":
        return _listen_unix(text, Place(address.path), backlog, BACKEND_MODE)
    sock = _new(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET)
    try:
        if transparent:
            _make_transparent(sock)
        bound = _bind_tcp(sock, address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return Listener(text, bound, sock)


def _make_transparent(sock: socket.socket) -> None:
    try:
        sock.setsockopt(*_TRANSPARENT[sock.family], 1)
    except PermissionError:
        why = "not permitted: transparent = true takes CAP_NET_ADMIN"
        raise PermissionError(errno.EPERM, why) from None


def _listen_unix(text: str, place: Place, backlog: int, mode: int) -> Listener:
    """Takes `place` over. Raises OSError."""
    sock = _new(socket.AF_UNIX)
    try:
        inode = place.bind(sock, mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        place.close()
        raise
    return Listener(text, text, sock, place, inode)


def _new(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _bind_tcp(sock: socket.socket, address: Address) -> str:
    # Connections of our last run may be in TIME_WAIT: they are no reason to wait a minute before the next.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # config/address.py says what [::] means
    # Numbers only, so nothing is resolved here; it knows what `%eth0` means in a link-local address.
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    info = socket.getaddrinfo(address.host, address.port, sock.family, socket.SOCK_STREAM, flags=flags)
    sock.bind(info[0][4])
    return bound(sock, address)


def bound(sock: socket.socket, address: Address) -> str:
    """What a TCP socket listens on: port 0 has become a number."""
    return str(Address("tcp", host=address.host, port=sock.getsockname()[1]))


def _listen_admin(node: Node, path: str) -> Listener:
    """Raises OSError."""
    uid, gid = admin_owner(node)
    place = _admin_place(path, uid)
    listener = _listen_unix(f"unix:{path}", place, ADMIN_BACKLOG, node.admin_mode)
    try:
        place.give(uid, gid)
    except OSError as error:
        listener.close()
        if error.errno == errno.EPERM:
            why = "admin_owner, admin_group: only root may give it to others than our own groups"
            raise PermissionError(errno.EPERM, why) from None
        raise
    return listener


def _admin_place(path: str, given_to: int) -> Place:
    """In /tmp somebody else may have made its directory first, to put his socket there. Raises OSError."""
    directory = os.path.dirname(path)
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    os.makedirs(directory, mode=0o755, exist_ok=True)
    place = Place(path, given_to)
    for owner in (os.lstat(directory).st_uid, place.owner()):  # of a link to it, too
        if owner not in (0, os.geteuid()):
            place.close()
            raise PermissionError(errno.EPERM, f"its directory belongs to another user (uid {owner})")
    if place.anybody_may_write():
        place.close()
        raise PermissionError(errno.EPERM, "everybody may write in its directory, and so take its place")
    return place


def explain(text: str, error: OSError) -> str:
    """What to do about it."""
    return f"cannot listen on {text}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}"
