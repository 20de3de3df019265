-- How the raw table is defined: on a cluster the Distributed table and the local one.
SELECT create_table_query
FROM system.tables
WHERE database = currentDatabase()
    AND name IN ('usage_events', 'usage_events_local')
