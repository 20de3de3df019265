"""Checks Kafka and ClickHouse before a worker stores its first batch."""
