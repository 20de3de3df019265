-- The engine of the raw table, which names the cluster of a Distributed table.
SELECT engine_full
FROM system.tables
WHERE database = currentDatabase()
    AND name = 'usage_events'
