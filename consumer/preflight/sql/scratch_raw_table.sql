-- A scratch table that stands for the raw table. Tries of an insert differ in what they bring
-- (attempt) and in what is added (stored_at): otherwise ClickHouse's hash of the content, made
-- before defaults or after them, would hide that it ignores the token.
CREATE TABLE ${name} (
    case_name String,
    item UInt8,
    attempt UInt8,
    stored_at DateTime64(6) DEFAULT now64(6)
)
ENGINE = ${replicated}MergeTree
ORDER BY (case_name, item)
${windows}
