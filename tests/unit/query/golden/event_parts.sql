-- Reads the other parts of a request, of each the newest row.
-- Callers may use an id again, so of parts with the same number the nearest in time counts. Without
-- an id, parts are what the producer has numbered next. The condition on the time has an index.
SELECT
    event_id,
    schema_version,
    producer_id,
    sequence,
    occurred_at,
    request_id,
    attempt,
    part,
    user_id,
    user_name,
    api_key_id,
    api_key_name,
    source,
    virtual_key_id,
    team_id,
    customer_id,
    provider,
    requested_model,
    model,
    endpoint,
    service_tier,
    batch,
    prompt_tokens,
    completion_tokens,
    total_tokens,
    cached_tokens,
    cache_write_tokens,
    reasoning_tokens,
    pre_filter_prompt_tokens,
    post_filter_prompt_tokens,
    units,
    usage_quality,
    status_code,
    failed,
    streaming,
    duration_ms,
    ttft_ms,
    cost,
    cost_source,
    reported_cost,
    price_version,
    tags
FROM usage_events
WHERE occurred_at >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND occurred_at < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    AND request_id = {request_id:String}
    AND attempt = {attempt:UInt16}
    AND user_id = {user_id:String}
    AND (
        request_id != ''
        OR (
            producer_id = {producer_id:String}
            AND toInt64(sequence) - part = {main_sequence:Int64}
        )
    )
    AND part != {part:UInt8}
ORDER BY
    part,
    abs(toUnixTimestamp64Milli(occurred_at) - {at_ms:Int64}),
    stored_at DESC,
    ingested_at DESC,
    kafka_partition,
    kafka_offset DESC
LIMIT 1 BY part
SETTINGS
    date_time_output_format = 'iso',
    output_format_json_quote_64bit_integers = 0,
    output_format_json_quote_decimals = 1
