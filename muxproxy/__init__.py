"""muxproxy: many short-lived client connections over a few upstream keep-alive connections.

The map. Two processes' worth of rooms; imports go downwards only (tests/test_house.py checks it):

    cli/          commands a person types
    supervisor/   trio   processes, listening sockets, systemd, admin socket
    worker/       uvloop sockets for the heart: one process, one event loop, no threads
    mux/          pure   who waits, who goes, who gets which reply
    protocols/    pure   bytes <-> frames; contract.py is the seam
    config/ metrics/ messages.py errors.py      pure leaves

One request: worker/client -> protocols/<p>/requests -> mux/client -> mux/pool -> mux/upstream -> the wire,
and back: worker/upstream -> protocols/<p>/replies -> mux/upstream -> mux/client -> the wire.

Words: *client* and *upstream* are connections, towards the app and towards a *server*; a *backend* is one
configuration file: listeners, a *queue* behind a *gate*, and a *pool* of upstreams. An *exchange* is one
request and its reply; a *frame* is a span of their bytes. A *pinned* upstream belongs to one client. A
*refusal* is a "no" in the client's own language. Every exchange ends in one *outcome*: replied, refused,
expired, lost, abandoned.

Promises P1-P9 are in the docstring of mux/.
"""

__version__ = "0.1.0"
