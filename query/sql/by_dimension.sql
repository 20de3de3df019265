-- Usage by one dimension.
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
    ${order}
LIMIT {limit:UInt32}
