-- The stored rows of some events. The fingerprints come first: few rows pass them.
SELECT
    toString(event_id),
    kafka_topic_id,
    kafka_partition,
    kafka_offset
FROM usage_events
PREWHERE toUInt32(bitXor(toUInt64(bitXor(reinterpretAsUInt128(event_id), bitShiftRight(reinterpretAsUInt128(event_id), 64))), bitShiftRight(toUInt64(bitXor(reinterpretAsUInt128(event_id), bitShiftRight(reinterpretAsUInt128(event_id), 64))), 32))) IN (WITH base64Decode('LP1wfi/9j4E=') AS words SELECT reinterpretAsUInt32(substring(words, number * 4 + 1, 4)) FROM numbers(2))
WHERE (UUIDToNum(event_id) BETWEEN UUIDStringToNum('018f8d2e-0000-0000-0000-000000000000') AND UUIDStringToNum('018f8d2e-00ff-ffff-ffff-ffffffffffff')
OR UUIDToNum(event_id) BETWEEN UUIDStringToNum('018f8d2e-ff00-0000-0000-000000000000') AND UUIDStringToNum('018f8d2e-ffff-ffff-ffff-ffffffffffff'))
    AND ingested_at >= now64(3) - toIntervalDay(7)
