-- Rows and different offsets of each block of consecutive offsets.
SELECT
    intDiv(kafka_offset, {block:UInt64}) AS block,
    count(),
    uniqExact(kafka_offset)
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset >= {first:UInt64}
    AND kafka_offset < {end:UInt64}
GROUP BY block
