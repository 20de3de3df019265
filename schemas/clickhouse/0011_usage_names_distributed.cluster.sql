-- Reads the names on all shards of a cluster.
CREATE TABLE IF NOT EXISTS usage_names ${on_cluster}
AS usage_names${local}
-- Written by each shard's view, read by all: the key only says where a manual insert would go.
ENGINE = Distributed(${cluster}, ${database}, usage_names${local}, cityHash64(kind, id))
