"""Files of the operator's that somebody else may change, or read a password in: warnings, for they work.

What a file's own mode says counts only where others may come to it: in a directory that is closed to them
they may do nothing. The group is not among them, for it is whom the operator made a file readable for.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from muxproxy.config.model import SECRETS, Backend
from muxproxy.errors import Problem


def warnings(folders: Sequence[Path], node: Path, backends: Sequence[Backend]) -> Iterator[Problem]:
    """`folders`: those whose files are read; they and `node` need not be there."""
    for folder in folders:
        if anybody_may_add(folder):
            yield Problem(str(folder), "", "", "every user may add files to it: chmod o-w")
    for rule in exposures(node, has_secret=False):
        yield Problem(str(node), "", "", rule)
    for backend in backends:
        files = {key: getattr(backend.redis, f"{key}_file") for key in SECRETS}
        inline = any(getattr(backend.redis, key) and not file for key, file in files.items())
        for rule in exposures(Path(backend.file), has_secret=inline):
            yield Problem(backend.file, "", "", rule)
        for key, file in files.items():
            for rule in exposures(Path(file), has_secret=True) if file else ():
                yield Problem(backend.file, f"redis.{key}_file", json.dumps(file), rule)
        yield from _tls(backend)


def _tls(backend: Backend) -> Iterator[Problem]:
    """Who reads the key is us, who writes a CA decides whom we believe."""
    for place, tls in (("clients.tls", backend.clients.tls), ("upstream.tls", backend.upstream.tls)):
        if tls is None:
            continue
        secret = "key_file" if tls.key_file else "cert_file"
        for key in ("ca_file", "cert_file", "key_file"):
            file = getattr(tls, key)
            for rule in exposures(Path(file), has_secret=key == secret, what="the key") if file else ():
                yield Problem(backend.file, f"{place}.{key}", json.dumps(file), rule)


def exposures(path: Path, *, has_secret: bool, what: str = "a password") -> Iterator[str]:
    """What is wrong with who may do what to this file, and what to do about it."""
    try:
        real = path.resolve(strict=True)  # a mounted secret is a link to the file that counts
        status, folder = real.stat(), real.parent.stat()
        is_open = _is_open(real)
    except (OSError, RuntimeError):  # that it cannot be read is told elsewhere
        return
    if not stat.S_ISREG(status.st_mode):
        return
    if status.st_uid not in (0, os.geteuid()):
        yield f"belongs to another user (uid {status.st_uid}), who can change it: chown it"
    if not is_open:
        return
    if status.st_mode & stat.S_IWOTH:
        yield "every user may write it: chmod o-w"
    elif folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        yield f"every user may put another file in its place: chmod o-w {real.parent}"
    if has_secret and status.st_mode & stat.S_IROTH:
        yield f"every user may read it, and it has {what} in it: chmod o-r"


def anybody_may_add(folder: Path) -> bool:
    """Every user may put a file there, which we would read."""
    try:
        real = folder.resolve(strict=True)
        status = real.stat()
        return stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_IWOTH) and _is_open(real)
    except (OSError, RuntimeError):
        return False


def _is_open(real: Path) -> bool:
    """Every user can come to it. Raises OSError."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in real.parents)
