-- When the newest stored event of a partition arrived.
-- Backwards in the order of the table, this reads one row. max(ingested_at) would read all rows.
SELECT ingested_at
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
ORDER BY
    kafka_topic_id DESC,
    kafka_partition DESC,
    kafka_offset DESC
LIMIT 1
