"""What a show needs that runs real processes before somebody's eyes (`muxproxy demo`, `muxproxy incident`).

stage.py    processes and signals        pipes.py     their words
hosts.py    machines and a wire          census.py    sockets by state, as the kernel counts them
"""
