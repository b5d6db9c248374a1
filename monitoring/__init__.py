"""Monitoring of served predictions: drift, parity with the offline features, and cohorts by arm."""
