-- Reads which price books were applied, the newest first.
SELECT
    applied_at,
    version,
    applied_by,
    comment
FROM price_book_history
ORDER BY
    applied_at DESC,
    version DESC
