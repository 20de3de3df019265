-- Usage by several dimensions, or over time as well: one row for each combination that occurred.
SELECT
    ${groups},
    ${measures},
    toUnixTimestamp64Milli(max(usage.last_occurred_at)) AS last_used
FROM
(
    ${slices}
) AS usage
WHERE ${condition}
GROUP BY
    ${names}
ORDER BY
    ${order}
LIMIT {limit:UInt32}
