-- Usage over time by one dimension: a row for each bucket and value, in the order of both.
SELECT
    ${start},
    usage.${dimension} AS value,
    ${measures}
FROM
(
    ${slices}
) AS usage
GROUP BY
    start,
    value
ORDER BY
    start,
    value
LIMIT {limit:UInt32}
