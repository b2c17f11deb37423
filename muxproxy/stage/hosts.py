"""Two machines of a show, joined by a wire: network namespaces of our own, or this machine's loopback.

A namespace has its own ports, TIME_WAITs and settings, so an incident in it harms nobody. Ours have no name:
the kernel removes one with the last process and descriptor in it, even if we are killed. Who is not root gets
them inside of a user namespace, where the machine permits that.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from muxproxy.stage.census import Census
from muxproxy.stage.stage import Before

CLIENT = "10.77.0.1"
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_HERE = "/proc/thread-self/ns/net"
_SETTINGS = Path("/proc/sys/net/ipv4")
_libc = ctypes.CDLL(None, use_errno=True)


class Unable(Exception):  # noqa: N818  # a fact, which has another way
    """No namespaces here; `str()` says why."""


class Host:
    def __init__(self, namespace: int | None = None) -> None:
        self._namespace = namespace  # a descriptor; None: this machine

    def before(self) -> Before | None:
        """For a child: done between fork and exec, it runs on this host."""
        namespace = self._namespace
        return None if namespace is None else lambda: _enter(namespace)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and whom it starts."""
        if self._namespace is None:
            yield
            return
        home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self._namespace)
            yield
        finally:
            _enter(home)
            os.close(home)

    def census(self) -> Census:
        """A netlink socket stays with the namespace in which it was made."""
        with self.inside():
            return Census()

    def setting(self, name: str) -> str:
        with self.inside():
            return " ".join((_SETTINGS / name).read_text().split())

    def close(self) -> None:
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None


class Network:
    """`client` reaches `server` at each of `addresses`."""

    def __init__(self, client: Host, server: Host, addresses: Sequence[str], is_real: bool) -> None:
        self.client, self.server = client, server
        self.addresses = list(addresses)
        self.is_real = is_real  # namespaces of its own

    def port(self, wanted: int) -> int:
        """On loopback one that is free and has no TIME_WAITs of a leg before: the kernel chooses."""
        if self.is_real:
            return wanted
        with socket.create_server(("127.0.0.1", 0)) as sock:
            return int(sock.getsockname()[1])

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()


def loopback(servers: int) -> Network:
    host = Host()
    return Network(host, host, [f"127.0.2.{number + 1}" for number in range(servers)], is_real=False)


def joined(servers: int, settings: dict[str, str]) -> Network:
    """A server host with so many addresses, and a client host with these settings of net.ipv4."""
    if _ip_program() is None:
        raise Unable("`ip` is missing (Debian: iproute2)")
    addresses = [f"10.77.1.{number + 1}" for number in range(servers)]
    network = Network(Host(_new_namespace()), Host(_new_namespace()), addresses, is_real=True)
    try:
        _wire(network)
        with network.client.inside():
            for name, value in settings.items():
                (_SETTINGS / name).write_text(value)
    except (OSError, subprocess.CalledProcessError) as error:
        network.__exit__()
        said = getattr(error, "stderr", None) or error
        raise Unable(f"a network of namespaces cannot be made: {said}") from error
    return network


def _wire(network: Network) -> None:
    with network.client.inside():
        client = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with network.server.inside():
            addresses = [f"address add {address}/16 dev wire" for address in network.addresses]
            _ip(
                "link add wire type veth peer name wire0",
                f"link set wire0 netns /proc/{os.getpid()}/fd/{client}",
                *addresses,
                "link set wire up",
                "link set lo up",
            )
    finally:
        os.close(client)
    with network.client.inside():
        _ip(f"address add {CLIENT}/16 dev wire0", "link set wire0 up", "link set lo up")


def _ip(*lines: str) -> None:
    command = [_ip_program() or "ip", "-batch", "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True)


def _ip_program() -> str | None:
    return shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")  # not on everybody's PATH


def _new_namespace() -> int:
    """This thread goes there and comes back; who keeps the descriptor keeps the namespace."""
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            _call(_libc.unshare(_NEWNET))
        except PermissionError:
            _try_user_namespace()
            _own_user_namespace()
            os.close(home)
            home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            _call(_libc.unshare(_NEWNET))
        namespace = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        _enter(home)
    except OSError as error:
        why = error.strerror if error.errno != errno.ENOSPC else "user.max_user_namespaces is used up, or 0"
        raise Unable(f"network namespaces are not permitted here ({why}): root has them") from error
    finally:
        os.close(home)
    return namespace


def _try_user_namespace() -> None:
    """In a child, for there is no way back: some systems (AppArmor's) let one in, and permit nothing, and
    this process would be left without a network. Raises OSError."""
    child = os.fork()
    if child == 0:
        code = errno.EPERM
        try:
            _own_user_namespace()
            _call(_libc.unshare(_NEWNET))
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _own_user_namespace() -> None:
    """For the rest of this process's life: in it we are root, and have a network that we may leave and come
    back to (the machine's own would not take us back). What is written to files is still ours."""
    user, group = os.getuid(), os.getgid()
    _call(_libc.unshare(_NEWUSER | _NEWNET))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _enter(namespace: int) -> None:
    _call(_libc.setns(namespace, _NEWNET))


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
