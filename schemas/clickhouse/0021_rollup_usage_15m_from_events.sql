-- Fills in the new columns of the quarters from the events that are stored already.
-- Before the view counts them, so that no event is counted twice. The token makes a repetition
-- change nothing, also of a statement that broke off between two blocks: the order makes the blocks
-- the same each time. Workers should be stopped: what they store or repeat between this and the
-- view can be counted wrongly, in these columns only, and usagepipe audit --repair corrects it.
INSERT INTO rollup_usage_15m
(
    bucket,
    customer_id,
    team_id,
    user_id,
    source,
    api_key_id,
    provider,
    model,
    missing_requests,
    partial_requests,
    inconsistent_requests,
    failures_without_usage,
    first_occurred_at,
    last_occurred_at,
    last_stored_at
)
SETTINGS
    insert_deduplicate = 1,
    insert_deduplication_token = 'usagepipe: 0021',
    deduplicate_blocks_in_dependent_materialized_views = 1,
    max_partitions_per_insert_block = 0
SELECT
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
FROM usage_events AS events
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
ORDER BY ALL
