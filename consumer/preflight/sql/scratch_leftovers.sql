-- The scratch tables that are older than some minutes. Older versions named them "proof", and wrote
-- no time into the name: then only the time that the database reports is known.
WITH
    '^usagepipe_(?:preflight|proof)_' AS prefix,
    toUInt32OrZero(extract(name, concat(prefix, '([0-9]{10})_'))) AS named,
    if(named > 0, named, toUnixTimestamp(metadata_modification_time)) AS made
SELECT name
FROM system.tables
WHERE database = currentDatabase()
    AND match(name, concat(prefix, '([0-9]{10}_)?[0-9a-f]{16}_'))
    AND made > 0
    AND made < toUnixTimestamp(now() - toIntervalMinute({minutes:UInt32}))
