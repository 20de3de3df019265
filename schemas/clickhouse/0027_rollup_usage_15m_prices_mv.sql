-- Corrects what the older views count of events with the columns of 0025, for the days too.
-- - rollup_usage_15m_mv counts each event as a request. A part is a call of another model inside an
--   answer, and no request.
-- - rollup_usage_15m_quality_mv takes a failed request without tokens for one that used nothing. It
--   may have used other units, and then it has a price.
-- Sums of UInt64 are exact modulo 2^64, so adding 0 - 1 subtracts 1.
-- A view of its own, since ClickHouse makes a view's token from its query too: a block that is
-- repeated after a change of the other views would be summed twice.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_15m_prices_mv ${on_cluster}
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
    toUInt64(0 - countIf(events.part != 0)) AS requests,
    toUInt64(0 - countIf(events.part != 0 AND events.failed)) AS failures,
    toUInt64(0 - countIf(
        events.failed
        AND events.cost IS NULL
        AND events.prompt_tokens = 0
        AND events.completion_tokens = 0
        AND events.total_tokens = 0
        AND arraySum(mapValues(events.units)) != 0
    )) AS failures_without_usage,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at,
    max(stored_at) AS last_stored_at
FROM usage_events${local} AS events
WHERE events.part != 0
    OR (
        events.failed
        AND events.cost IS NULL
        AND events.prompt_tokens = 0
        AND events.completion_tokens = 0
        AND events.total_tokens = 0
        AND arraySum(mapValues(events.units)) != 0
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
