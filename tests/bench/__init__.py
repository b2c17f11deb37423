"""`python -m tests.bench http|redis|dubbo|tcp`: muxproxy beside its peers and no proxy at all, in one run.

    http.py      wrk and nginx as the origin; muxproxy, HAProxy, nginx
    redis.py     redis-benchmark and redis-server; muxproxy (TCP, unix), twemproxy, HAProxy
    echo.py      dubbo and tcp: our own caller.py and provider.py (frames.py); muxproxy, HAProxy
    suite.py     what the four have in common: a suite, its contestants, rounds that take turns
    servers.py   a server: configured, started, found ready, ended
    measure.py   CPU, memory and sockets as the kernel counts them; figures
    report.py    figures -> medians, spreads, ratios -> Markdown

Nothing timed is asserted anywhere; the tests beside these files check how figures are read, not how large
they are.
"""
