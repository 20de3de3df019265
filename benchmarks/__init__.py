"""Measures the worker against others that do its job, on one machine, in one run."""
