-- Usage by one dimension, the most tokens first.
SELECT
    usage.${dimension} AS ${dimension},
    ${measures},
    toUnixTimestamp64Milli(max(usage.last_occurred_at)) AS last_used
FROM
(
    ${slices}
) AS usage
GROUP BY ${dimension}
ORDER BY
    total_tokens DESC,
    requests DESC,
    ${dimension}
LIMIT {limit:UInt32}
