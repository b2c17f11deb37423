"""Commands a person types. One file per command; they print and choose exit codes, and decide nothing else.

To add one: a module with a click command, and one line in main.py. Heavy imports (rich, trio) belong into the
command's function: `muxproxy check` in a loop of a deployment should not pay for a live view.
"""
