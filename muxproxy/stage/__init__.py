"""What a show needs that runs real processes before somebody's eyes (`muxproxy demo`).

stage.py    processes and signals        pipes.py    their words
"""
