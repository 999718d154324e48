"""Features of a trained network, what they are worth, and reports about it."""
