-- Spreads the notes on parked partitions over the shards of a cluster; the name that everyone uses.
CREATE TABLE IF NOT EXISTS parked_partitions ${on_cluster}
AS parked_partitions${local}
-- By partition of the log, so that all rows of a partition are on one shard and can be replaced.
ENGINE = Distributed(${cluster}, ${database}, parked_partitions${local}, cityHash64(kafka_topic_id, kafka_partition))
