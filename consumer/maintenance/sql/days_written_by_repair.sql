-- UTC days of the rows of an offset range that were written by a repair.
SELECT DISTINCT toStartOfDay(toDateTime(occurred_at, 'UTC'))
FROM usage_events
WHERE kafka_topic_id = {topic_id:String}
    AND kafka_partition = {partition:UInt32}
    AND kafka_offset BETWEEN {first:UInt64} AND {last:UInt64}
    AND batch_epoch = {epoch:UInt32}
