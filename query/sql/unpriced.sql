-- Counts the stored events without a price, by what decides why.
-- Their number and tokens, and all counts of the newest one. A failed request that used nothing has
-- nothing to price.
SELECT
    events.provider AS provider,
    events.model AS model,
    events.service_tier AS service_tier,
    events.batch AS batch,
    count() AS unpriced,
    sum(events.total_tokens) AS tokens,
    max(events.occurred_at) AS newest_at,
    argMax(events.customer_id, (events.occurred_at, events.event_id)) AS customer_id,
    argMax(events.part, (events.occurred_at, events.event_id)) AS part,
    argMax(events.failed, (events.occurred_at, events.event_id)) AS failed,
    argMax(events.usage_quality, (events.occurred_at, events.event_id)) AS usage_quality,
    argMax(events.prompt_tokens, (events.occurred_at, events.event_id)) AS prompt_tokens,
    argMax(events.completion_tokens, (events.occurred_at, events.event_id)) AS completion_tokens,
    argMax(events.total_tokens, (events.occurred_at, events.event_id)) AS total_tokens,
    argMax(events.cached_tokens, (events.occurred_at, events.event_id)) AS cached_tokens,
    argMax(events.cache_write_tokens, (events.occurred_at, events.event_id)) AS cache_write_tokens,
    argMax(events.reasoning_tokens, (events.occurred_at, events.event_id)) AS reasoning_tokens,
    argMax(events.units, (events.occurred_at, events.event_id)) AS units
FROM usage_events AS events
WHERE events.occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND events.occurred_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND events.cost IS NULL
    AND NOT (
        events.failed
        AND events.prompt_tokens = 0
        AND events.completion_tokens = 0
        AND events.total_tokens = 0
        AND arraySum(mapValues(events.units)) = 0
    )
GROUP BY
    events.provider,
    events.model,
    events.service_tier,
    events.batch,
    events.usage_quality = 'missing',
    events.total_tokens > events.prompt_tokens + events.completion_tokens,
    events.cached_tokens + events.cache_write_tokens > events.prompt_tokens,
    events.reasoning_tokens > events.completion_tokens,
    events.completion_tokens > 0,
    events.cached_tokens > 0,
    events.cache_write_tokens > 0,
    arraySort(mapKeys(events.units))
ORDER BY
    unpriced DESC,
    provider,
    model
LIMIT {limit:UInt32}
