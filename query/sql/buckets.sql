-- Usage over time: one row a bucket, in the order of time. Buckets without requests are absent.
SELECT
    ${start},
    ${measures}
FROM
(
    ${slices}
) AS usage
GROUP BY start
ORDER BY start
LIMIT {limit:UInt32}
