-- Feeds the new columns of the days from each block that the quarters get.
-- A view of its own, since ClickHouse makes a view's token from its query too: a block that is
-- repeated after a change of rollup_usage_1d_mv would be summed twice.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_usage_1d_quality_mv ${on_cluster}
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
    sum(quarters.missing_requests) AS missing_requests,
    sum(quarters.partial_requests) AS partial_requests,
    sum(quarters.inconsistent_requests) AS inconsistent_requests,
    sum(quarters.failures_without_usage) AS failures_without_usage,
    min(quarters.first_occurred_at) AS first_occurred_at,
    max(quarters.last_occurred_at) AS last_occurred_at,
    max(quarters.last_stored_at) AS last_stored_at
FROM rollup_usage_15m${local} AS quarters
WHERE quarters.missing_requests != 0
    OR quarters.partial_requests != 0
    OR quarters.inconsistent_requests != 0
    OR quarters.failures_without_usage != 0
GROUP BY
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model
