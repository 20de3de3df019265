-- Usage over time: one row a bucket, in the order of time. Buckets without requests are absent.
SELECT
    toUnixTimestamp(
        toDateTime(${start_of}(usage.bucket, {time_zone:String}), {time_zone:String})
    ) AS start,
    ${measures}
FROM
(
    ${slices}
) AS usage
GROUP BY start
ORDER BY start
LIMIT {limit:UInt32}
