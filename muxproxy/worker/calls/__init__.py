"""The system calls of a client's connection, without the objects that Python has for a socket: plain.py, and
the same in C where there is a compiler (direct.c)."""

try:
    from muxproxy.worker.calls.direct import accept, close, receive, send, watcher
except ImportError:  # nothing is compiled here, as the installation has said and `status` says
    from muxproxy.worker.calls.plain import accept, close, receive, send, watcher

__all__ = ["accept", "close", "receive", "send", "watcher"]
