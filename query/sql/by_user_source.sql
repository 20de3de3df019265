-- Usage without an API key by user and source: what by_key leaves out.
SELECT
    usage.user_id AS user_id,
    usage.source AS source,
    ${measures},
    toUnixTimestamp64Milli(max(usage.last_occurred_at)) AS last_used
FROM
(
    ${slices}
) AS usage
WHERE usage.api_key_id = ''
GROUP BY
    user_id,
    source
ORDER BY
    ${order}
LIMIT {limit:UInt32}
