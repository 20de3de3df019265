-- The first stored offset of a partition, and how many rows the partition has.
SELECT
    min(kafka_offset),
    count()
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
