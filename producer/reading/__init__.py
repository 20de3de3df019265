"""Reads usage out of providers' answers as they pass."""
