"""Messages: envelopes, payloads and results."""
