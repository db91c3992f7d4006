"""The half that launches."""
