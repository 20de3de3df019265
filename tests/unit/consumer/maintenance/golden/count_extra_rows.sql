-- How many rows there are beyond one for each event, in a share of all events.
SELECT count() - uniqExact(event_id)
FROM usage_events
WHERE modulo(cityHash64(event_id), {shares:UInt64}) = {share:UInt64}
