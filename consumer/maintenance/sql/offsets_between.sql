-- The stored offsets of a range, each once and in order.
SELECT DISTINCT kafka_offset
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
ORDER BY kafka_offset
