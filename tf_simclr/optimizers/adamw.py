"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) whose update of a variable is one operation instead of a dozen."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("tf_simclr")
class AdamW(tf.keras.optimizers.AdamW):
    """`tf.keras.optimizers.AdamW`: the same arguments and variables, and the same results but for rounding.

    Keras writes the update in separate operations, each of which goes through all of the weights; TensorFlow's kernel for Adam goes once.
    It takes 1 - β₂ in float32, so that velocities differ by up to 5e-5 of themselves.
    """

    def update_step(self, gradient, variable):
        rate = tf.cast(self.learning_rate, variable.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            with tf.control_dependencies([gradient]):  # else the products of all variables would be kept through the step
                variable.assign_sub(variable * (self.weight_decay * rate))
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        position = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[position].handle,
            v=self._velocities[position].handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )

    def _apply_weight_decay(self, variables):
        """Nothing, as `update_step` does it."""
