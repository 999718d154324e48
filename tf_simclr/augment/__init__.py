"""Views: seeds and uint8 images in, float images out; pure functions with static shapes."""
