"""Pure: what is counted, how it is summed up, and how it is shown to Prometheus."""
