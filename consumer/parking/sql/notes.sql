-- The newest notes of workers and operators about the partitions of one group and topic.
-- A negative partition means all of them.
SELECT
    kafka_topic,
    kafka_partition,
    noted_by,
    state,
    first_offset,
    last_offset,
    parked_at,
    author,
    report,
    noted_at
FROM parked_partitions FINAL
WHERE consumer_group = {group:String}
    AND kafka_topic_id = {topic_id:String}
    AND ({partition:Int64} < 0 OR kafka_partition = {partition:Int64})
ORDER BY kafka_partition
