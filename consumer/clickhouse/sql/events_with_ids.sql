-- The stored rows of some events. The fingerprints come first: few rows pass them.
SELECT
    toString(event_id),
    kafka_topic_id,
    kafka_partition,
    kafka_offset
FROM usage_events
PREWHERE ${fingerprint}
WHERE ${window}
    AND ingested_at >= now64(3) - toIntervalDay(${days})
