-- Spreads the events over the shards of a cluster; the name that everyone uses.
CREATE TABLE IF NOT EXISTS usage_events ${on_cluster}
AS usage_events${local}
-- By partition of the log, so that a batch is one insert on one shard and its token decides.
ENGINE = Distributed(${cluster}, ${database}, usage_events${local}, cityHash64(kafka_topic_id, kafka_partition))
