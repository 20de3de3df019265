-- Names every rollup; on a cluster the tables that span it, not each server's part.
SELECT name
FROM system.tables
WHERE
    database = {database:String}
    AND startsWith(name, 'rollup_')
    AND NOT endsWith(name, '_local')
    AND engine != 'MaterializedView'
ORDER BY name
