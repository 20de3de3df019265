"""`usagepipe demo`: the whole pipeline on a trace of requests, ending in a proof of its sums."""
