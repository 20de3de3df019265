-- One priced event, rather with cached tokens: its cost has more parts.
SELECT event_id
FROM usage_events
WHERE cost_source = 'priced'
ORDER BY
    cached_tokens > 0 DESC,
    occurred_at,
    event_id
LIMIT 1
