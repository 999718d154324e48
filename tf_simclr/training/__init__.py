"""One Keras model with its train step per objective, and the fit that drives them."""
