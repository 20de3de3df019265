"""Compares the rollups with the raw rows, and rebuilds what differs."""
