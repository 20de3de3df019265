-- Producers whose sequence numbers are not complete, with the first and the last number.
-- Count and sum of the numbers must be those of a complete sequence: this costs a fifth of
-- counting distinct numbers.
SELECT
    producer_id,
    min(sequence) AS first,
    max(sequence)
FROM usage_events
WHERE producer_id != ''
    AND isNotNull(sequence)
GROUP BY producer_id
HAVING count() != max(sequence) - first + 1
    OR sum(sequence) != intDiv(toUInt128(count()) * (first + max(sequence)), 2)
ORDER BY producer_id
LIMIT {limit:UInt32}
