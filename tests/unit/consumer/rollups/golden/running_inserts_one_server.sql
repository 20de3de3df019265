-- Names of the inserts that run now, into any table: a view may stand between it and ours.
SELECT concat(hostName(), query_id)
FROM system.processes
WHERE query_kind IN ('Insert', 'AsyncInsertFlush')
