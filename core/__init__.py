"""What every layer shares: plan, settings, contracts, errors, database, migrations, prediction log."""
