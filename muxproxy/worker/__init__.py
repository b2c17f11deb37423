"""The hands: uvloop sockets for the heart. One process, one event loop, no threads of our own.

They carry bytes, events and the time to the brains of the same names in `mux/`, and decide nothing. Callbacks
only: the two tasks there are resolve names and connect upstreams, never one per request.
"""
