-- A scratch table that stands for a rollup.
CREATE TABLE ${name} (
    case_name String,
    item UInt8,
    requests SimpleAggregateFunction(sum, UInt64)
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (case_name, item)
${windows}
