-- Sums usage in buckets of 15 minutes, UTC: every time zone's day is made of whole ones.
-- Keyed by ids, never by names: a renamed key stays one row.
-- The cost sums what is known and is null where nothing is; unpriced_requests tells for how many.
CREATE TABLE IF NOT EXISTS rollup_usage_15m${local} ${on_cluster}
(
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
    customer_id String CODEC(ZSTD(1)),
    team_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    source LowCardinality(String),
    api_key_id String CODEC(ZSTD(1)),
    provider LowCardinality(String),
    model LowCardinality(String),

    requests SimpleAggregateFunction(sum, UInt64),
    failures SimpleAggregateFunction(sum, UInt64),
    prompt_tokens SimpleAggregateFunction(sum, UInt64),
    completion_tokens SimpleAggregateFunction(sum, UInt64),
    total_tokens SimpleAggregateFunction(sum, UInt64),
    cached_tokens SimpleAggregateFunction(sum, UInt64),
    cache_write_tokens SimpleAggregateFunction(sum, UInt64),
    reasoning_tokens SimpleAggregateFunction(sum, UInt64),
    cost SimpleAggregateFunction(sum, Nullable(Decimal(38, 12))),
    unpriced_requests SimpleAggregateFunction(sum, UInt64),

    first_occurred_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_occurred_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    last_stored_at SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
)
ENGINE = ${replicated}AggregatingMergeTree
-- The bucket never changes in a retry, and by year a batch meets at most the 100 years that an
-- event may lie in, which is as many parts as ClickHouse lets one insert make.
PARTITION BY toYear(bucket)
-- The bucket first: every question has a range of time, most have nothing else. Then from the
-- widest owner to the narrowest, so that a customer's or a user's rows of a bucket lie together.
ORDER BY (bucket, customer_id, team_id, user_id, source, api_key_id, provider, model)
SETTINGS
    non_replicated_deduplication_window = 100000,
    replicated_deduplication_window = 100000,
    replicated_deduplication_window_seconds = 2592000
