-- Lets a table's rows stay for ever.
ALTER TABLE ${table}${local} ${on_cluster}
    REMOVE TTL
