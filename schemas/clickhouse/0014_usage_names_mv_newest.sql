-- Feeds the newest name: the one that arrived last.
-- Arrival decides, not the event's own time: clocks of web processes differ, and several events may
-- lie in one millisecond. Two kinds of events cannot win by arriving late:
-- 1. One from the future (5 minutes are allowed for clocks): its time is wrong, so it ranks last.
-- 2. One that is older than a day as it arrives, as an import's: it counts at its own time.
-- A repeated block changes nothing here, since the largest value stays the largest.
ALTER TABLE usage_names_mv ${on_cluster}
    MODIFY QUERY SELECT
    named.1 AS kind,
    named.2 AS id,
    max((
        multiIf(
            occurred_at > addMinutes(ingested_at, 5), toDateTime64(0, 3, 'UTC'),
            occurred_at < subtractDays(ingested_at, 1), occurred_at,
            ingested_at
        ),
        ingested_at,
        kafka_offset,
        named.3
    )) AS newest,
    max(stored_at) AS last_stored_at
FROM usage_events${local}
ARRAY JOIN [('user', user_id, user_name), ('api_key', api_key_id, api_key_name)] AS named
WHERE named.2 != '' AND named.3 != ''
GROUP BY
    kind,
    id
