"""From feature snapshots to a registered release: training set, candidates, evaluation, bundle, ledger."""
