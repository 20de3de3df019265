"""Brings events from any thread to Kafka, over the spill when Kafka is unreachable."""
