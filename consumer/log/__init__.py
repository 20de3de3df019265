"""Record formats of Kafka's log, read without a Kafka client."""
