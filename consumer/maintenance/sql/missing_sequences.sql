-- Ranges of sequence numbers of a producer that no stored event has.
SELECT
    before + 1,
    sequence - 1
FROM
(
    SELECT
        sequence,
        lagInFrame(sequence, 1, {before:UInt64}) OVER
        (
            ORDER BY sequence
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS before
    FROM
    (
        SELECT DISTINCT assumeNotNull(sequence) AS sequence
        FROM usage_events
        WHERE producer_id = {producer:String}
            AND isNotNull(sequence)
    )
)
WHERE sequence > before + 1
ORDER BY 1
LIMIT {limit:UInt32}
