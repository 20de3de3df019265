"""Delivers events from any thread to Kafka, over the disk when Kafka is unreachable."""
