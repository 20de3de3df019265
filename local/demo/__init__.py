"""`usagepipe demo`: the whole pipeline on a trace of requests, and a check of its sums."""
