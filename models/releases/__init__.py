"""Releases: the ledger, the gate, roles, promotion, rollback and MLflow's registry."""
