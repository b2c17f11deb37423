"""The file of a unix socket: made, recognised and removed, also where others may write.

Root may be told to listen in a directory of somebody else, an app's own or /tmp. Whoever may write there can
put a link or another file under any name, at any moment. So the directory is opened once and stays the same
whatever its path becomes; what stands there is looked at through a descriptor, which follows no link, before
it is asked or removed; and the mode comes from the umask, for a chmod by name would change whatever is there
by then.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import PurePath

Inode = tuple[int, int]


class Place:
    """A name in a directory that is held open until close()."""

    def __init__(self, path: str, given_to: int = -1) -> None:
        """`given_to`: whose a file of ours may be besides. Raises OSError."""
        self._given_to = given_to
        directory, self._name = os.path.split(path)
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def bind(self, sock: socket.socket, mode: int) -> Inode:
        """Take the place, also from a socket that a killed process left. Raises OSError."""
        try:
            self._make(sock, mode)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._clear()
            self._make(sock, mode)
        made = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        if not stat.S_ISSOCK(made.st_mode) or made.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "somebody else has put another file there meanwhile")
        return made.st_dev, made.st_ino

    def inode(self) -> Inode | None:
        """Of what stands there now."""
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def give(self, uid: int, gid: int) -> None:
        """The file that bind() made, to another user or group; -1: as it is. Raises OSError."""
        if (uid, gid) != (-1, -1):
            os.chown(self._name, uid, gid, dir_fd=self._directory, follow_symlinks=False)

    def remove(self, inode: Inode) -> None:
        """The file that we made; one that somebody else has put there is left alone."""
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == inode:
                os.unlink(self._name, dir_fd=self._directory)
        except (FileNotFoundError, PermissionError):
            pass  # gone; or its directory is another user's, and the next start clears it

    def owner(self) -> int:
        """The user who owns the directory."""
        return os.fstat(self._directory).st_uid

    def anybody_may_write(self) -> bool:
        """And so put his own file in our file's place."""
        mode = os.fstat(self._directory).st_mode
        return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX

    def _make(self, sock: socket.socket, mode: int) -> None:
        mask = os.umask(0o777 & ~mode)  # the process's, so not in a worker thread: we have none
        try:
            sock.bind(self._address())
        finally:
            os.umask(mask)

    def _address(self) -> str:
        """bind(2) takes a path only: the directory's own where nobody can exchange it; `ss` shows that."""
        held = f"/proc/self/fd/{self._directory}"
        path = os.readlink(held)
        return os.path.join(path if _is_fixed(path) else held, self._name)

    def _clear(self) -> None:
        """Remove a socket that nobody has open. Raises OSError for everything else that may be there."""
        file = os.open(self._name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            found = os.fstat(file)
            if not stat.S_ISSOCK(found.st_mode):
                raise FileExistsError(errno.EEXIST, "a file that is no socket stands there; move it away")
            if not _is_stale(file):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            if not _is_ours(found) and found.st_uid != self._given_to:
                what = f"a socket of another user (uid {found.st_uid}) stands there; remove it"
                raise PermissionError(errno.EPERM, what)
            self.remove((found.st_dev, found.st_ino))
        finally:
            os.close(file)


def _is_stale(file: int) -> bool:
    """The file of a socket that nobody has open: left by a process that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        # EAGAIN: alive, its backlog is full
        return probe.connect_ex(f"/proc/self/fd/{file}") == errno.ECONNREFUSED


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())


def _is_fixed(path: str) -> bool:
    """Only root and we can make this path another directory: nobody else may rename what is on it."""
    child = os.stat(path)
    for parent in PurePath(path).parents:
        status = os.stat(parent)
        if not _is_ours(status):
            return False
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if others and not (status.st_mode & stat.S_ISVTX and _is_ours(child)):
            return False
        child = status
    return True
