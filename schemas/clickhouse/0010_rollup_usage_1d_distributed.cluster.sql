-- Reads the rollup on all shards of a cluster.
CREATE TABLE IF NOT EXISTS rollup_usage_1d ${on_cluster}
AS rollup_usage_1d${local}
-- Written by each shard's view, read by all: the key only says where a manual insert would go.
ENGINE = Distributed(${cluster}, ${database}, rollup_usage_1d${local}, cityHash64(customer_id, user_id))
