"""Releases: the ledger, the gate, roles, promotion and rollback."""
