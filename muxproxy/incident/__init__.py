"""`muxproxy incident`: the incidents that muxproxy was made for, once more, on real servers.

    replays.py  the table of them; http/, redis/ and dubbo/ have each the play, and its client and servers
    world.py    where it is played    proxy.py    muxproxy, started as anybody would start it
    observe.py  a leg, watched        latency.py  how long requests took
    record.py   what was recorded     view.py     what one sees meanwhile     picture.py  ... and afterwards

Each has a leg direct and one through muxproxy, with the same client; each leg is played on hosts of its own,
so that no TIME_WAIT of one is there in the next.
"""
