"""`python -m tests.bench http`: muxproxy beside HAProxy, nginx and no proxy at all, in one run.

    servers.py   the origin and the contestants: their configuration, start and end
    measure.py   CPU, memory and sockets out of /proc and ss, and the load (wrk)
    report.py    figures -> medians, spreads, ratios -> the README's table
    __main__.py  the command: which load on which contestant, in which order

Nothing timed is asserted anywhere; test_parsing.py checks how figures are read, not how large they are.
"""
