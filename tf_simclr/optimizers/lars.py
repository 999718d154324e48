"""LARS: layer-wise adaptive rates for large batches (You et al. 2017, arXiv 1708.03888, Algorithm 1)."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("tf_simclr")
class LARS(tf.keras.optimizers.Optimizer):
    """SGD with momentum whose rate is scaled per variable by `trust · |w| / |g + λw|`.

    As SimCLR uses it: the momentum buffer takes in the learning rate (`v ← m·v + rate·g; w ← w - v`), variables without weight decay
    and adaptation (BatchNorm, biases) get plain momentum SGD, and the classifier's kernel that with plain L2.

    Args:
      learning_rate: float ≥ 0 or a Keras schedule.
      momentum: m in [0, 1].
      weight_decay: λ ≥ 0, added to the gradient before its norm is taken.
      trust: the trust coefficient, > 0.
      nesterov: use the gradient after the momentum step.
      undecayed: positions, in the list that the optimizer is built with, of the variables that get plain momentum SGD. Positions
        and not variables, so that the config tells all.
      unadapted: positions of those whose weight decay is added to the gradient, and no more.
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.0,
        trust=0.001,
        nesterov=False,
        undecayed=(),
        unadapted=(),
        name="LARS",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.l2 = weight_decay  # not Keras' `weight_decay`, which is decoupled from the gradient
        self.trust = trust
        self.nesterov = nesterov
        self.undecayed, self.unadapted = tuple(undecayed), tuple(unadapted)

    def build(self, var_list):
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.momentums = [self.add_variable_from_reference(v, "m") for v in var_list]
        self._built = True

    def update_step(self, gradient, variable):
        with tf.control_dependencies([gradient]):  # else momentum and decay would be computed first of all in a step, and kept through it
            self._update(gradient, variable)

    def _update(self, gradient, variable):
        rate = tf.cast(self.learning_rate, variable.dtype)
        position = self._index_dict[self._var_key(variable)]
        if position not in self.undecayed:
            gradient = gradient + self.l2 * variable
        if position not in self.undecayed + self.unadapted:
            weight_norm, gradient_norm = tf.norm(variable), tf.norm(gradient)
            usable = (weight_norm > 0) & (gradient_norm > 0)
            rate = rate * tf.where(usable, self.trust * weight_norm / tf.where(usable, gradient_norm, 1.0), 1.0)
        velocity = self.momentums[position]
        velocity.assign(self.momentum * velocity + rate * gradient)
        variable.assign_sub(self.momentum * velocity + rate * gradient if self.nesterov else velocity)

    def get_config(self):
        rate = self._serialize_hyperparameter(self._learning_rate)
        own = {
            "momentum": self.momentum,
            "weight_decay": self.l2,
            "trust": self.trust,
            "nesterov": self.nesterov,
            "undecayed": list(self.undecayed),
            "unadapted": list(self.unadapted),
        }
        return {**super().get_config(), "learning_rate": rate, **own}
