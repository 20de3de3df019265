-- Reads what was applied, each definition in the words of the server that runs now.
-- A newer server prints the same definition otherwise than the one that recorded it.
SELECT
    version,
    argMax(name, applied_at) AS name,
    argMax(checksum, applied_at) AS checksum,
    argMax(cluster, applied_at) AS cluster,
    argMax(object, applied_at) AS object,
    ifNull(formatQueryOrNull(argMax(definition, applied_at)), '') AS definition
FROM usagepipe_migrations
GROUP BY version
ORDER BY version
