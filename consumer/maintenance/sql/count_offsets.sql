-- How many different offsets of a range are stored.
SELECT uniqExact(kafka_offset)
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
