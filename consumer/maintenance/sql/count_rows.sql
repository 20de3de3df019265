-- How many rows the raw table has.
SELECT count()
FROM usage_events
