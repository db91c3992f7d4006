"""The half that runs."""
