-- Keeps which partitions are parked, and what operators decided about them.
-- A worker and the operators each have one row for a partition; the newest counts.
CREATE TABLE IF NOT EXISTS parked_partitions${local} ${on_cluster}
(
    consumer_group String,
    kafka_topic LowCardinality(String),
    kafka_topic_id LowCardinality(String),
    kafka_partition UInt32,
    noted_by LowCardinality(String) COMMENT 'worker or operator',
    state LowCardinality(String) COMMENT 'parked or resumed (worker), letters or retry (operator)',
    first_offset UInt64,
    last_offset UInt64,
    parked_at DateTime64(3, 'UTC') DEFAULT now64(3),
    author String COMMENT 'host and process of a worker, user and host of an operator',
    report String COMMENT 'JSON of a worker: reasons with samples, counts and limits',
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
-- By the server's clock: a decision counts when it is newer than the parking that it is about.
ENGINE = ${replicated}ReplacingMergeTree(noted_at)
ORDER BY (consumer_group, kafka_topic_id, kafka_partition, noted_by)
