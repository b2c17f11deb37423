"""What ORDERED and TAGGED have in common: many exchanges in flight on a connection."""
