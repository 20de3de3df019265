-- Offsets of a range with a row that arrived before a moment, in order.
SELECT DISTINCT kafka_offset
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset >= {first:UInt64}
    AND kafka_offset < {end:UInt64}
    AND ingested_at < fromUnixTimestamp64Milli({moment:Int64})
ORDER BY kafka_offset
