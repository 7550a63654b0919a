"""Files and batches: kept here, worked through by providers, in one shape."""
