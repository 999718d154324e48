"""SGD whose weight decay is the gradient of an L2 penalty, as in SimCLR's momentum optimizer."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("tf_simclr")
class SGD(tf.keras.optimizers.SGD):
    """`tf.keras.optimizers.SGD` with the same arguments; momentum takes in the decay `weight_decay · w`, as it does in LARS.

    In Keras' own, decay is taken off the weights beside the step: at a momentum of 0.9 the same number is then ten times weaker.
    """

    def update_step(self, gradient, variable):
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = gradient + self.weight_decay * variable
        super().update_step(gradient, variable)

    def _apply_weight_decay(self, variables):
        """Nothing, as `update_step` does it."""
