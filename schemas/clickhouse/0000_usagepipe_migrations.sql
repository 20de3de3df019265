-- Keeps which migrations were applied, with the definition each left behind.
-- On a cluster it is one table for all shards: its path has no shard in it, its replica's name has.
CREATE TABLE IF NOT EXISTS usagepipe_migrations ${on_cluster}
(
    version UInt32,
    name String,
    checksum String,
    cluster String,
    object String,
    definition String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${ledger_engine}
ORDER BY (version, applied_at)
