"""What both halves share, under the module names of 1.0.0."""
