-- Adds to the quarters how many requests have no usage, a part of it, or numbers that differ.
-- failures_without_usage are failed requests without tokens and cost: they have nothing to price,
-- though unpriced_requests counts them.
ALTER TABLE rollup_usage_15m${local} ${on_cluster}
    ADD COLUMN IF NOT EXISTS missing_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS partial_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS inconsistent_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS failures_without_usage SimpleAggregateFunction(sum, UInt64)
