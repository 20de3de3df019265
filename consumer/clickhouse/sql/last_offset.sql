-- The greatest stored offset. The order is the table's, backwards: only its end is read.
SELECT kafka_offset
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset >= {at_least:UInt64}
ORDER BY
    kafka_topic_id DESC,
    kafka_partition DESC,
    kafka_offset DESC
LIMIT 1
