-- Reads the stored price books other than one, the newest first.
SELECT version
FROM price_books
WHERE version != {version:String}
GROUP BY version
ORDER BY
    max(stored_at) DESC,
    version DESC
