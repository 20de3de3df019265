-- Notes that a price book was applied: after every other one, also if a clock was ahead then.
INSERT INTO price_book_history (applied_at, version, applied_by, comment)
SELECT
    greatest(now64(6), latest + toIntervalMicrosecond(1)),
    {version:String},
    {applied_by:String},
    {comment:String}
FROM (
    SELECT max(history.applied_at) AS latest
    FROM price_book_history AS history
)
