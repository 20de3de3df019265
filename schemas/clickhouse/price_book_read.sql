-- Reads one price book. Copies of it are equal, so any of them will do.
SELECT book
FROM price_books
WHERE version = {version:String}
LIMIT 1
