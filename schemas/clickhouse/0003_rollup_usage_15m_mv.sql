-- Feeds the 15-minute rollup from each inserted block of events.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_15m_mv ${on_cluster}
TO rollup_usage_15m${local}
AS SELECT
    toStartOfFifteenMinutes(toDateTime(occurred_at, 'UTC')) AS bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model,
    count() AS requests,
    countIf(failed) AS failures,
    sum(events.prompt_tokens) AS prompt_tokens,
    sum(events.completion_tokens) AS completion_tokens,
    sum(events.total_tokens) AS total_tokens,
    sum(events.cached_tokens) AS cached_tokens,
    sum(events.cache_write_tokens) AS cache_write_tokens,
    sum(events.reasoning_tokens) AS reasoning_tokens,
    sum(events.cost) AS cost,
    countIf(events.cost IS NULL) AS unpriced_requests,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at,
    max(stored_at) AS last_stored_at
FROM usage_events${local} AS events
GROUP BY
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model
