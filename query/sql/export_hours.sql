-- In which hours of a range events occurred, and how many rows each has, in the order of time.
SELECT
    toUnixTimestamp(toStartOfHour(toDateTime(occurred_at, 'UTC'))) AS hour,
    count() AS events
FROM usage_events
WHERE occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND occurred_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
GROUP BY hour
ORDER BY hour
