-- All rows of a range as events, in the order of an export's file; copies of one stand together.
-- The id as a number: as a UUID it would be ordered by its second half.
SELECT
    ${event_fields}
FROM usage_events
WHERE occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND occurred_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
ORDER BY
    occurred_at,
    UUIDToNum(event_id),
    kafka_topic_id,
    kafka_partition,
    kafka_offset
SETTINGS
    date_time_output_format = 'iso',
    output_format_json_quote_64bit_integers = 0,
    output_format_json_quote_decimals = 1,
    max_bytes_before_external_sort = 268435456
