-- All rows of a range as events, in the order of an export's file; copies of one stand together.
-- The id as a number: as a UUID it would be ordered by its second half.
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
