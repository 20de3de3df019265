-- Removes the database of one run of the demo.
DROP DATABASE IF EXISTS {database:Identifier} SYNC
