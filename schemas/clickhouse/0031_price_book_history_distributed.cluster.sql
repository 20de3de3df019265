-- Spreads the history of price books over the shards of a cluster; the name that everyone uses.
CREATE TABLE IF NOT EXISTS price_book_history ${on_cluster}
AS price_book_history${local}
ENGINE = Distributed(${cluster}, ${database}, price_book_history${local}, rand())
