"""Compares the rollups with the raw rows, and rebuilds buckets that differ."""
