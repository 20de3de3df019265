"""The Faust worker: Kafka's records in, batches cut, rows in ClickHouse, offsets committed."""
