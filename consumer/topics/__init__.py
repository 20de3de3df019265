"""Reads and writes topics, offsets and log epochs from outside of the consumer group."""
