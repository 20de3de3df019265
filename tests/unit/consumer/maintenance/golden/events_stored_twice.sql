-- The first events of a share that are stored more than once, and where.
SELECT
    toString(event_id),
    groupArray(10)((toString(kafka_topic_id), kafka_partition, kafka_offset))
FROM usage_events
WHERE event_id IN
(
    SELECT event_id
    FROM usage_events
    WHERE modulo(cityHash64(event_id), {shares:UInt64}) = {share:UInt64}
    GROUP BY event_id
    HAVING count() > 1
    ORDER BY event_id
    LIMIT {limit:UInt32}
)
GROUP BY event_id
ORDER BY event_id
