"""What a source holds, what the model will see of it, and which settings it suggests: before anyone trains."""
