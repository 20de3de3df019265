-- Counts the intact copies of a price book. Its version is the start of its hash.
SELECT count()
FROM price_books
WHERE version = {version:String} AND lower(hex(left(SHA256(book), 8))) = version
