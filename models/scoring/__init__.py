"""What scores: encoding, prepared columns and model files; nothing here fits."""
