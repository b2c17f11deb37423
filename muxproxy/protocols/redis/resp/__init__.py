"""The bytes themselves: words, numbers and lines of RESP, and where commands and replies end."""
