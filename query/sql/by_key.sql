-- Usage by API key; requests without a key are no part of it.
-- A key is one row even when several users share it; it shows the one who used it last.
SELECT
    usage.api_key_id AS api_key_id,
    argMax(usage.user_id, (usage.last_occurred_at, usage.user_id)) AS user_id,
    uniqExact(usage.user_id) AS users,
    ${measures},
    toUnixTimestamp64Milli(max(usage.last_occurred_at)) AS last_used
FROM
(
    ${slices}
) AS usage
WHERE usage.api_key_id != ''
GROUP BY api_key_id
ORDER BY
    ${order}
LIMIT {limit:UInt32}
