"""The hands: uvloop sockets for the heart. One process, one event loop, no threads of our own.

A client comes through its listener, is a visit, with a wire of our own, until it asks a second time
(visit.py), and then has uvloop's transport (adopt.py). calls/ is what it asks of the kernel until then, in C
where there is a compiler. Upstream connections are uvloop's from the beginning.

They carry bytes, events and the time to the brains of the same names in `mux/`, and decide nothing. Callbacks
only: the two tasks there are resolve names and connect upstreams, never one per request.
"""
