"""Sources of rows: readers, times, quality rules and the ledger of what was taken in."""
