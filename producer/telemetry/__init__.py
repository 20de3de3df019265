"""The producer's numbers: counters, and metrics for Prometheus."""
