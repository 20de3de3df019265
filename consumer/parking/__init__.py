"""Parked partitions: when a partition stops for its dead letters, and when it goes on."""
