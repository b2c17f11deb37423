"""Where a request's target, or its Host, says: forward proxy and gateway by Host (`[upstream] to = "host"`).

    heads.py      a head -> where it goes, and as what it goes on; tunnels (CONNECT); who may; loops
    requests.py   client bytes -> request frames, each with its destination
    replies.py    server bytes -> reply frames; the 200 that opens a tunnel
    protocol.py   both together: a Protocol whose sessions need a Destination

What is HTTP in here is the folder above: framing, limits, hop-by-hop. Here is only what depends on where a
request goes.
"""
