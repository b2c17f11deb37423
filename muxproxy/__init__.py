"""muxproxy: many short-lived client connections over a few upstream keep-alive connections.

The map. Two processes' worth of rooms; imports go downwards only (tests/test_house.py checks it):

    cli/          commands a person types
    incident/     what happened for real, replayed: direct and through muxproxy, recorded and drawn
    stage/        children, hosts and a wire between them, the kernel's socket counts: what is played on
    supervisor/   trio   processes, listening sockets, systemd, admin socket
    worker/       uvloop sockets for the heart: one process, one event loop, no threads
    mux/          pure   who waits, who goes, who gets which reply
    protocols/    pure   bytes <-> frames; contract.py is the seam: http, redis, dubbo, tcp
    doctor/       what is wrong with a machine's connections: reading it, and (pure) judging what was read
    config/ metrics/ budget.py messages.py errors.py native.py      pure leaves
    sockdiag.py   the kernel's own list of TCP sockets, for whoever looks at a machine
    packaging/    how it is built: the heart and its hands are compiled where there is a C compiler

One request: worker/client -> its protocol's requests.py -> its sharing's client.py -> pool.py -> upstream.py
-> the wire, and back: worker/upstream -> replies.py -> upstream.py -> client.py -> the wire. How requests
share an upstream is its protocol's *sharing*: one at a time (http), many in order (redis), many by id
(dubbo), or not at all (tcp). `mux/__init__.py` says which folder is which one's.

Words: *client* and *upstream* are connections, towards the app and towards a *server*; a *backend* is one
configuration file: listeners, a *queue* behind a *gate*, and a *pool* of upstreams. An *exchange* is one
request and its reply, or a tcp client's whole session; a *frame* is a span of their bytes. A *pinned*
upstream belongs to one client, or to the *feed* of all that listen. A *prelude* brings an upstream into the
*state* (db, user ...) that a request needs. A *refusal* is a "no" in the client's own language. Every
exchange ends in one *outcome*: replied, refused, expired, lost, abandoned.

Promises P1-P10 are in the docstring of mux/.
"""

__version__ = "0.1.0"
