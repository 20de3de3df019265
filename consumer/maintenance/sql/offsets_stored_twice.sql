-- The offsets of a range that are stored more than once, in order.
SELECT kafka_offset
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
GROUP BY kafka_offset
HAVING count() > 1
ORDER BY kafka_offset
