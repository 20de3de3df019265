-- Usage by API key; requests without a key are no part of it.
-- A key is one row even when several users share it; it shows the one who used it last.
SELECT
    usage.api_key_id AS api_key_id,
    argMax(usage.user_id, (usage.last_occurred_at, usage.user_id)) AS user_id,
    uniqExact(usage.user_id) AS users,
    sum(usage.requests) AS requests,
    sum(usage.failures) AS failures,
    sum(usage.prompt_tokens) AS prompt_tokens,
    sum(usage.completion_tokens) AS completion_tokens,
    sum(usage.total_tokens) AS total_tokens,
    sum(usage.cached_tokens) AS cached_tokens,
    sum(usage.cache_write_tokens) AS cache_write_tokens,
    sum(usage.reasoning_tokens) AS reasoning_tokens,
    if(count() = 0, 0, sum(usage.cost)) AS cost,
    sum(usage.unpriced_requests) AS unpriced_requests,
    sum(usage.missing_requests) AS missing_requests,
    sum(usage.partial_requests) AS partial_requests,
    sum(usage.inconsistent_requests) AS inconsistent_requests,
    toUnixTimestamp64Milli(max(usage.last_occurred_at)) AS last_used
FROM
(
    -- Every instant of the range is in exactly one of the three parts, so sums over them are exact.
    -- A failed request that used nothing and has no cost has nothing to price: it is not unpriced.
    SELECT
        days.bucket AS bucket,
        days.customer_id AS customer_id,
        days.team_id AS team_id,
        days.user_id AS user_id,
        days.source AS source,
        days.api_key_id AS api_key_id,
        days.provider AS provider,
        days.model AS model,
        days.requests AS requests,
        days.failures AS failures,
        days.prompt_tokens AS prompt_tokens,
        days.completion_tokens AS completion_tokens,
        days.total_tokens AS total_tokens,
        days.cached_tokens AS cached_tokens,
        days.cache_write_tokens AS cache_write_tokens,
        days.reasoning_tokens AS reasoning_tokens,
        days.cost AS cost,
        days.unpriced_requests - days.failures_without_usage AS unpriced_requests,
        days.missing_requests AS missing_requests,
        days.partial_requests AS partial_requests,
        days.inconsistent_requests AS inconsistent_requests,
        days.last_occurred_at AS last_occurred_at
    FROM rollup_usage_1d AS days
    WHERE days.bucket >= toDateTime({days_from:UInt32}, 'UTC')
        AND days.bucket < toDateTime({days_to:UInt32}, 'UTC')
        AND (
            ({customer_id:Nullable(String)} IS NULL OR customer_id = {customer_id:Nullable(String)})
            AND ({team_id:Nullable(String)} IS NULL OR team_id = {team_id:Nullable(String)})
            AND ({user_id:Nullable(String)} IS NULL OR user_id = {user_id:Nullable(String)})
            AND ({source:Nullable(String)} IS NULL OR source = {source:Nullable(String)})
            AND ({excluded_source:Nullable(String)} IS NULL OR source != {excluded_source:Nullable(String)})
            AND ({api_key_id:Nullable(String)} IS NULL OR api_key_id = {api_key_id:Nullable(String)})
            AND ({provider:Nullable(String)} IS NULL OR provider = {provider:Nullable(String)})
            AND ({model:Nullable(String)} IS NULL OR model = {model:Nullable(String)})
        )
    UNION ALL
    SELECT
        quarters.bucket AS bucket,
        quarters.customer_id AS customer_id,
        quarters.team_id AS team_id,
        quarters.user_id AS user_id,
        quarters.source AS source,
        quarters.api_key_id AS api_key_id,
        quarters.provider AS provider,
        quarters.model AS model,
        quarters.requests AS requests,
        quarters.failures AS failures,
        quarters.prompt_tokens AS prompt_tokens,
        quarters.completion_tokens AS completion_tokens,
        quarters.total_tokens AS total_tokens,
        quarters.cached_tokens AS cached_tokens,
        quarters.cache_write_tokens AS cache_write_tokens,
        quarters.reasoning_tokens AS reasoning_tokens,
        quarters.cost AS cost,
        quarters.unpriced_requests - quarters.failures_without_usage AS unpriced_requests,
        quarters.missing_requests AS missing_requests,
        quarters.partial_requests AS partial_requests,
        quarters.inconsistent_requests AS inconsistent_requests,
        quarters.last_occurred_at AS last_occurred_at
    FROM rollup_usage_15m AS quarters
    WHERE quarters.bucket >= toDateTime({quarters_from:UInt32}, 'UTC')
        AND quarters.bucket < toDateTime({quarters_to:UInt32}, 'UTC')
        AND (
            quarters.bucket < toDateTime({days_from:UInt32}, 'UTC')
            OR quarters.bucket >= toDateTime({days_to:UInt32}, 'UTC')
        )
        AND (
            ({customer_id:Nullable(String)} IS NULL OR customer_id = {customer_id:Nullable(String)})
            AND ({team_id:Nullable(String)} IS NULL OR team_id = {team_id:Nullable(String)})
            AND ({user_id:Nullable(String)} IS NULL OR user_id = {user_id:Nullable(String)})
            AND ({source:Nullable(String)} IS NULL OR source = {source:Nullable(String)})
            AND ({excluded_source:Nullable(String)} IS NULL OR source != {excluded_source:Nullable(String)})
            AND ({api_key_id:Nullable(String)} IS NULL OR api_key_id = {api_key_id:Nullable(String)})
            AND ({provider:Nullable(String)} IS NULL OR provider = {provider:Nullable(String)})
            AND ({model:Nullable(String)} IS NULL OR model = {model:Nullable(String)})
        )
    UNION ALL
    SELECT
        toStartOfFifteenMinutes(toDateTime(events.occurred_at, 'UTC')) AS bucket,
        events.customer_id AS customer_id,
        events.team_id AS team_id,
        events.user_id AS user_id,
        events.source AS source,
        events.api_key_id AS api_key_id,
        events.provider AS provider,
        events.model AS model,
        toUInt64(events.part = 0) AS requests,
        toUInt64(events.failed AND events.part = 0) AS failures,
        events.prompt_tokens AS prompt_tokens,
        events.completion_tokens AS completion_tokens,
        events.total_tokens AS total_tokens,
        events.cached_tokens AS cached_tokens,
        events.cache_write_tokens AS cache_write_tokens,
        events.reasoning_tokens AS reasoning_tokens,
        events.cost AS cost,
        toInt64(
            events.cost IS NULL
            AND NOT (
                events.failed
                AND events.prompt_tokens = 0
                AND events.completion_tokens = 0
                AND events.total_tokens = 0
                AND arraySum(mapValues(events.units)) = 0
            )
        ) AS unpriced_requests,
        toUInt64(events.usage_quality = 'missing') AS missing_requests,
        toUInt64(events.usage_quality = 'partial') AS partial_requests,
        toUInt64(events.usage_quality = 'inconsistent') AS inconsistent_requests,
        events.occurred_at AS last_occurred_at
    FROM usage_events AS events
    WHERE events.occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
        AND events.occurred_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
        AND (
            events.occurred_at < toDateTime64({quarters_from:UInt32}, 3, 'UTC')
            OR events.occurred_at >= toDateTime64({quarters_to:UInt32}, 3, 'UTC')
        )
        AND (
            ({customer_id:Nullable(String)} IS NULL OR customer_id = {customer_id:Nullable(String)})
            AND ({team_id:Nullable(String)} IS NULL OR team_id = {team_id:Nullable(String)})
            AND ({user_id:Nullable(String)} IS NULL OR user_id = {user_id:Nullable(String)})
            AND ({source:Nullable(String)} IS NULL OR source = {source:Nullable(String)})
            AND ({excluded_source:Nullable(String)} IS NULL OR source != {excluded_source:Nullable(String)})
            AND ({api_key_id:Nullable(String)} IS NULL OR api_key_id = {api_key_id:Nullable(String)})
            AND ({provider:Nullable(String)} IS NULL OR provider = {provider:Nullable(String)})
            AND ({model:Nullable(String)} IS NULL OR model = {model:Nullable(String)})
        )
) AS usage
WHERE usage.api_key_id != ''
GROUP BY api_key_id
ORDER BY
    cost DESC NULLS LAST,
    total_tokens DESC,
    requests DESC,
    api_key_id
LIMIT {limit:UInt32}
