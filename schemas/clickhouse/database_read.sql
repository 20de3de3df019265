-- Asks whether the database stands.
SELECT name
FROM system.databases
WHERE name = {database:String}
