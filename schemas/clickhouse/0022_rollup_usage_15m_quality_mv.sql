-- Feeds the new columns of the quarters from each inserted block of events.
-- Most blocks have few such events, or none: then nothing is written.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_15m_quality_mv ${on_cluster}
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
    countIf(events.usage_quality = 'missing') AS missing_requests,
    countIf(events.usage_quality = 'partial') AS partial_requests,
    countIf(events.usage_quality = 'inconsistent') AS inconsistent_requests,
    countIf(
        events.failed
        AND events.cost IS NULL
        AND events.prompt_tokens = 0
        AND events.completion_tokens = 0
        AND events.total_tokens = 0
    ) AS failures_without_usage,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at,
    max(stored_at) AS last_stored_at
FROM usage_events${local} AS events
WHERE events.usage_quality != 'complete'
    OR (
        events.failed
        AND events.cost IS NULL
        AND events.prompt_tokens = 0
        AND events.completion_tokens = 0
        AND events.total_tokens = 0
    )
GROUP BY
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model
