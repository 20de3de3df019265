"""The values of the exactly-once protocol: batches, blocks and what a commit announces."""
