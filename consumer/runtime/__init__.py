"""What every part of the worker's process uses: retries, health, metrics, threads."""
