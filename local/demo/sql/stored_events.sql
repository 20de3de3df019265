-- Counts the events that are stored so far.
SELECT count() AS events
FROM usage_events
