-- How many rows there are beyond one for each event, in a share of all events.
SELECT count() - uniqExact(event_id)
FROM usage_events
WHERE ${share}
