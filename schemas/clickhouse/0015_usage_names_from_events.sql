-- Fills in the newest names of the events that are stored already, by the rule of the view.
INSERT INTO usage_names (kind, id, newest, last_stored_at)
SELECT
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
FROM usage_events
ARRAY JOIN [('user', user_id, user_name), ('api_key', api_key_id, api_key_name)] AS named
WHERE named.2 != '' AND named.3 != ''
GROUP BY
    kind,
    id
