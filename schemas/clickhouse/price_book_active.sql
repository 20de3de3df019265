-- Reads the version of the price book that was applied last.
SELECT version
FROM price_book_history
ORDER BY
    applied_at DESC,
    version DESC
LIMIT 1
