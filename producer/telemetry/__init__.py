"""The producer's numbers and logs."""
