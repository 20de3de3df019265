-- The stored offsets from a given one on, in order.
SELECT DISTINCT kafka_offset
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset >= {first:UInt64}
ORDER BY kafka_offset
