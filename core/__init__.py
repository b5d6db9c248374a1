"""Code that every layer imports: plan, settings, contracts, errors, database, migrations, prediction log."""
