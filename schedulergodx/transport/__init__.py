"""The ways to a broker; `connect` chooses one by its URL."""
