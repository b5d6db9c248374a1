"""What became of the predictions: drift, parity with the offline features, and cohorts by arm."""
