-- All rows of one event, the newest first. The condition on the id's bytes has an index.
SELECT
    ${event_fields}
FROM usage_events
WHERE UUIDToNum(event_id) = UUIDStringToNum({event_id:String})
ORDER BY
    stored_at DESC,
    ingested_at DESC,
    kafka_partition,
    kafka_offset DESC
SETTINGS
    date_time_output_format = 'iso',
    output_format_json_quote_64bit_integers = 0,
    output_format_json_quote_decimals = 1
