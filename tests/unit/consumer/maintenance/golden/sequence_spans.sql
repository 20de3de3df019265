-- The first and the last sequence number of each of the given producers.
SELECT
    producer_id,
    1,
    max(sequence)
FROM usage_events
WHERE producer_id IN {producers:Array(String)}
    AND isNotNull(sequence)
GROUP BY producer_id
