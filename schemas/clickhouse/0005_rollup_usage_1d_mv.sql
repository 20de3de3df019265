-- Feeds the day rollup from each block that the 15-minute rollup gets: fewer rows than the events.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_1d_mv ${on_cluster}
TO rollup_usage_1d${local}
AS SELECT
    toStartOfDay(quarters.bucket, 'UTC') AS bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model,
    sum(quarters.requests) AS requests,
    sum(quarters.failures) AS failures,
    sum(quarters.prompt_tokens) AS prompt_tokens,
    sum(quarters.completion_tokens) AS completion_tokens,
    sum(quarters.total_tokens) AS total_tokens,
    sum(quarters.cached_tokens) AS cached_tokens,
    sum(quarters.cache_write_tokens) AS cache_write_tokens,
    sum(quarters.reasoning_tokens) AS reasoning_tokens,
    sum(quarters.cost) AS cost,
    sum(quarters.unpriced_requests) AS unpriced_requests,
    min(quarters.first_occurred_at) AS first_occurred_at,
    max(quarters.last_occurred_at) AS last_occurred_at,
    max(quarters.last_stored_at) AS last_stored_at
FROM rollup_usage_15m${local} AS quarters
GROUP BY
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model
