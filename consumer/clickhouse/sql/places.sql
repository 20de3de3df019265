-- The rows of a range of offsets, without those of one epoch.
SELECT
    kafka_offset,
    toString(event_id)
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
    AND batch_epoch != {without_epoch:UInt64}
