"""Parking: when a partition stops because of its dead letters, and when it is resumed."""
