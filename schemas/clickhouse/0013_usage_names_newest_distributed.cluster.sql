-- Lets a cluster read the newest names.
ALTER TABLE usage_names ${on_cluster}
    ADD COLUMN IF NOT EXISTS newest SimpleAggregateFunction(max, Tuple(
        known_at DateTime64(3, 'UTC'),
        arrived_at DateTime64(3, 'UTC'),
        kafka_offset UInt64,
        name String
    )) AFTER latest
