"""The worker's path: from an assignment, over batches, to stored rows and commits."""
