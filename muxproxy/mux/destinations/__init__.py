"""Each request to a destination of its own: a pool and a queue for each, all of them under one bound (DESIGN
section 3a).

    client ──▶ Front ──▶ the pool of its destination ──▶ its server
                │  who waits for a place:  lending.py    places of max_connections, by places.py
                │  who waits at all:       hall.py       places of max_waiting, likewise
                │  what shards share:      rationing.py  of that, and of max_tunnels: the ledger's
                └─ numbers of all:         totals.py

A destination's pool is a pool like any other, of whatever sharing: what it may have is its allowance
(base/lending/allowance.py), which a budget lends it as the supervisor's ledger lends to workers, by calls and
not by messages. Where the destination is known when a client connects (`to = "original"`) the client is that
pool's own; where each request names it (`to = "host"`) the client is the front's, which leads each on.
"""
