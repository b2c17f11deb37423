"""Who we are in a Via field: the same in all workers of a backend, before and after a restart, and no others.

A request that comes round is recognised by it, so all that may carry one backend's requests must agree on it,
and no other muxproxy on the way may have it: two nodes with the same files are two.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path

from muxproxy.config.model import Backend

# Containers of one machine share its id, or have none; those that share a network do not share an address.
_MACHINE = "/etc/machine-id"
_NETWORK = "/proc/self/ns/net"


def pseudonym(backend: Backend) -> str:
    """It tells nothing of what it is made of."""
    told = [socket.gethostname(), backend.file, *backend.clients.listen]
    with contextlib.suppress(OSError):
        told.append(Path(_MACHINE).read_text())
    with contextlib.suppress(OSError):
        told.append(str(os.stat(_NETWORK).st_ino))
    return "muxproxy-" + hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]
