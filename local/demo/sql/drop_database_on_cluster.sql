-- Removes the database of one run of the demo from every server of the cluster.
DROP DATABASE IF EXISTS {database:Identifier} ON CLUSTER {cluster:Identifier} SYNC
