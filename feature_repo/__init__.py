"""The stages from raw sources to feature values (ingest, validate, build_features, apply, materialize), and Feast's stores."""
