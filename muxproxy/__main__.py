"""`python -m muxproxy` is `muxproxy`."""

from muxproxy.cli.main import main

if __name__ == "__main__":
    main()
