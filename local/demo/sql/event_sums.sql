-- Sums over all stored events, and how many different events they are. A part of a request is an
-- event, but no request.
SELECT
    countIf(events.part = 0) AS requests,
    uniqExact(event_id) AS event_ids,
    countIf(events.failed AND events.part = 0) AS failures,
    sum(events.prompt_tokens) AS prompt_tokens,
    sum(events.completion_tokens) AS completion_tokens,
    sum(events.total_tokens) AS total_tokens,
    sum(ifNull(events.cost, 0)) AS cost
FROM usage_events AS events
