"""Send Python functions to a service that runs them now or later, and answers."""
