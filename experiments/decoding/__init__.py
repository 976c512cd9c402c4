"""What decoders do, made visible."""
