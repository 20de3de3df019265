-- Spreads the price books over the shards of a cluster; the name that everyone uses.
CREATE TABLE IF NOT EXISTS price_books ${on_cluster}
AS price_books${local}
ENGINE = Distributed(${cluster}, ${database}, price_books${local}, cityHash64(version))
