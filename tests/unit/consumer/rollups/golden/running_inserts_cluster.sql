-- Names of the inserts that run on any node, and of the parts that a replica has yet to fetch.
SELECT concat(hostName(), query_id)
FROM clusterAllReplicas('a_cluster', system.processes)
WHERE query_kind IN ('Insert', 'AsyncInsertFlush')
UNION ALL
SELECT concat(hostName(), table, new_part_name)
FROM clusterAllReplicas('a_cluster', system.replication_queue)
WHERE database = currentDatabase()
    AND type = 'GET_PART'
