"""What was spent: the reading side of the ledger that the data plane writes."""
