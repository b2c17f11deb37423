"""What we and systemd, or another manager that speaks its words, have to do with each other.

    notify.py    what it is told, one datagram
    handed.py    listening sockets that it gives us when we begin: of socket units, and those that it kept
    store.py     listening sockets that it keeps for us, so that a restart and a crash refuse nobody
    manager.py   these, in the order of our life
    pulse.py     every two seconds: STATUS= with live numbers, and the watchdog is fed if all workers answer

Without one all of them do nothing.
"""
