-- Adds the newest name by arrival; `latest` (by occurred_at) stays for names whose events have left.
ALTER TABLE usage_names${local} ${on_cluster}
    ADD COLUMN IF NOT EXISTS newest SimpleAggregateFunction(max, Tuple(
        known_at DateTime64(3, 'UTC'),
        arrived_at DateTime64(3, 'UTC'),
        kafka_offset UInt64,
        name String
    )) AFTER latest
