-- Keeps every usage event as a row, with its place in the log.
-- A column is named as the event's field and defaults as the field does: what is left out of an
-- event is left out of the insert. Empty text is "none"; null stands where 0 would be a lie.
CREATE TABLE IF NOT EXISTS usage_events${local} ${on_cluster}
(
    event_id UUID,
    schema_version UInt8 DEFAULT 1,
    producer_id LowCardinality(String),
    sequence Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),

    request_id String CODEC(ZSTD(1)),
    attempt UInt16 DEFAULT 1,

    user_id String CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    api_key_id String CODEC(ZSTD(1)),
    api_key_name String CODEC(ZSTD(1)),
    source LowCardinality(String) DEFAULT 'web',
    virtual_key_id String CODEC(ZSTD(1)),
    team_id String CODEC(ZSTD(1)),
    customer_id String CODEC(ZSTD(1)),

    provider LowCardinality(String),
    requested_model LowCardinality(String),
    model LowCardinality(String),
    endpoint LowCardinality(String),

    prompt_tokens UInt64,
    completion_tokens UInt64,
    total_tokens UInt64,
    cached_tokens UInt64,
    cache_write_tokens UInt64,
    reasoning_tokens UInt64,
    pre_filter_prompt_tokens Nullable(UInt64),
    post_filter_prompt_tokens Nullable(UInt64),
    usage_quality LowCardinality(String) DEFAULT 'complete',

    status_code UInt16,
    failed Bool,
    streaming Bool,
    duration_ms UInt64,
    ttft_ms Nullable(UInt64),

    cost Nullable(Decimal(38, 12)),
    price_version LowCardinality(String),
    tags Map(String, String),

    kafka_topic LowCardinality(String),
    kafka_topic_id LowCardinality(String),
    kafka_partition UInt32,
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    batch_epoch UInt32,
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),

    -- Events come nearly in the order of their time, so a granule's span of it is narrow: the raw
    -- edge of a range reads a few granules.
    INDEX occurred_at_span occurred_at TYPE minmax GRANULARITY 1,
    -- As a UUID the id would be ordered by its random half; as bytes a UUIDv7 is ordered by time.
    INDEX event_id_span UUIDToNum(event_id) TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}MergeTree
-- By arrival in Kafka: it is the same in every retry. ClickHouse looks for a token inside one
-- partition, so with stored_at a retry after the month's end would be stored twice; with
-- occurred_at late events would scatter one insert over many parts.
PARTITION BY toYYYYMM(ingested_at)
-- Sorted like the log: an insert is sorted as it comes, and a batch's range of offsets, which the
-- worker counts to prove that it landed, is one stretch of the table.
ORDER BY (kafka_topic_id, kafka_partition, kafka_offset)
SETTINGS
    non_replicated_deduplication_window = 100000,
    replicated_deduplication_window = 100000,
    replicated_deduplication_window_seconds = 2592000,
    ttl_only_drop_parts = 1
