"""P10: whatever one connection floods, the others are served. `python -m tests.flood`; CI runs a small size.

kinds     every kind of frame of every protocol, from clients and from servers, as bytes that repeat
flooder   who sends them as fast as he can: a program of its own, a client or a server
looking   the honest servers, and a client for each who asks all the time: a program of its own
floods    a whole muxproxy in between: one flood after the other, and how the others fared
"""
