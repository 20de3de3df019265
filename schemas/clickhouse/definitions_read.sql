-- Reads how the tables and views of the database are defined now.
SELECT
    name,
    formatQuery(create_table_query) AS definition
FROM system.tables
WHERE database = {database:String}
    AND create_table_query != ''
