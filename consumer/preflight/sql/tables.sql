-- Tables and views, with the views that an insert into them triggers.
SELECT
    database,
    name,
    toString(uuid),
    engine,
    engine_full,
    create_table_query,
    arrayZip(dependencies_database, dependencies_table)
FROM system.tables
WHERE (database, name) IN {names:Array(Tuple(String, String))}
