-- Feeds the names from each inserted block of events; an event without a name changes none.
CREATE MATERIALIZED VIEW IF NOT EXISTS usage_names_mv ${on_cluster}
TO usage_names${local}
AS SELECT
    named.1 AS kind,
    named.2 AS id,
    max((occurred_at, named.3)) AS latest,
    max(stored_at) AS last_stored_at
FROM usage_events${local}
ARRAY JOIN [('user', user_id, user_name), ('api_key', api_key_id, api_key_name)] AS named
WHERE named.2 != '' AND named.3 != ''
GROUP BY
    kind,
    id
