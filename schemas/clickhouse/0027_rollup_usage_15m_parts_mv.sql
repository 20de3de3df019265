-- Takes the parts of a request out of the number of requests of the quarters, and so of the days.
-- rollup_usage_15m_mv counts each event. A part is a call of another model inside an answer, and no
-- request. Sums of UInt64 are exact modulo 2^64, so adding 0 - 1 subtracts 1.
-- A view of its own, since ClickHouse makes a view's token from its query too: a block that is
-- repeated after a change of rollup_usage_15m_mv would be summed twice.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_15m_parts_mv ${on_cluster}
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
    toUInt64(0 - count()) AS requests,
    toUInt64(0 - countIf(failed)) AS failures,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at,
    max(stored_at) AS last_stored_at
FROM usage_events${local} AS events
WHERE events.part != 0
GROUP BY
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model
