-- When the last event was stored that a rollup counted before the given time. No row if none was.
SELECT max(last_stored_at)
FROM
(
    SELECT last_stored_at FROM rollup_usage_15m
    UNION ALL
    SELECT last_stored_at FROM rollup_usage_1d
)
WHERE last_stored_at < {before:DateTime64(3, 'UTC')}
HAVING count() > 0
