-- Lets a cluster read the new columns of the days.
ALTER TABLE rollup_usage_1d ${on_cluster}
    ADD COLUMN IF NOT EXISTS missing_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS partial_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS inconsistent_requests SimpleAggregateFunction(sum, UInt64),
    ADD COLUMN IF NOT EXISTS failures_without_usage SimpleAggregateFunction(sum, UInt64)
