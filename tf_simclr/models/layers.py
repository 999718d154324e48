"""The layers a ResNet is made of. What an optimizer may decay or adapt is read off their classes (see `optimizers/masks.py`)."""

import contextlib
import contextvars

import tensorflow as tf

from tf_simclr.models import convolution

_MOVES = contextvars.ContextVar("moving statistics move", default=True)
_RECOMPUTES = contextvars.ContextVar("gradients compute again what they need", default=False)
_LOCAL = contextvars.ContextVar("statistics of one replica's batch", default=False)


@contextlib.contextmanager
def micro_batch(moves):
    """Within it, BatchNorm in training mode takes the batch that it is called on, on this replica alone, for the whole.

    Args:
      moves: whether the moving statistics move; where they do not, a batch can pass again as if for the first time.
    """
    before = _LOCAL.set(True), _MOVES.set(moves)
    try:
        yield
    finally:
        _LOCAL.reset(before[0])
        _MOVES.reset(before[1])


def in_micro_batch():
    """Whether this is within `micro_batch`."""
    return _LOCAL.get()


def statistics_move():
    """Whether moving statistics are to move here."""
    return _MOVES.get()


@contextlib.contextmanager
def recomputing():
    """Within it, networks in training mode keep less for the gradient, which computes it again: see `recomputed`."""
    before = _RECOMPUTES.set(True)
    try:
        yield
    finally:
        _RECOMPUTES.reset(before)


def recomputes():
    """Whether this is within `recomputing`, on one replica: many would have to average their statistics again."""
    return _RECOMPUTES.get() and tf.distribute.get_strategy().num_replicas_in_sync == 1


def recomputed(function, x):
    """`function(x)`, of which nothing but `x` is kept for the gradient: that computes it again, with moving statistics at rest.

    It costs little where the way is short and ends with a convolution, whose gradient needs its input alone: in a graph the convolution
    itself does not run again. One before BatchNorm, whose gradient needs its output, does.

    Args:
      function: of a float tensor to one; variables in it get gradients, too.
      x: float tensor.
    """

    @tf.custom_gradient
    def run(x):
        def gradient(upstream, variables=()):
            with tf.control_dependencies([upstream]):  # else all would be computed again at once, and kept
                again = tf.identity(x)
            moves = _MOVES.set(False)
            try:
                with tf.GradientTape() as tape:
                    tape.watch(again)
                    y = function(again)
            finally:
                _MOVES.reset(moves)
            mine, theirs = tape.gradient(y, (again, list(variables)), upstream)
            return (mine, theirs) if variables else mine

        return function(x), gradient

    return run(x)


class Conv(tf.keras.layers.Layer):
    """Convolution without bias; strided ones pad symmetrically, whatever the size of the input, then run VALID.

    Input float [B, H, W, C], output float [B, ceil(H / stride), ceil(W / stride), filters].
    """

    def __init__(self, filters, kernel_size, stride=1, **kwargs):
        super().__init__(**kwargs)
        # A strided 1×1 reads every stride-th pixel alone, so they are picked first: TensorFlow 2.15 with oneDNN computes a wrong gradient
        # of the kernel of such a convolution where it has few input channels (seen: 4 to 8 channels on an AVX2 CPU). Picked as means of one
        # pixel each, which are the same bits as a strided slice, ten times as fast on a CPU.
        self._pick = stride if kernel_size == 1 else 1
        stride = 1 if kernel_size == 1 else stride
        self.conv = tf.keras.layers.Conv2D(
            filters,
            kernel_size,
            stride,
            padding="valid" if stride > 1 else "same",
            use_bias=False,
            kernel_initializer=tf.keras.initializers.VarianceScaling(),
        )

    def call(self, x):
        if self._pick > 1:
            x = tf.nn.avg_pool2d(x, 1, self._pick, "VALID")
        size, stride = self.conv.kernel_size[0], self.conv.strides[0]
        suits = convolution.suits(x.dtype, size, x.shape[1] and -(-x.shape[1] // stride))
        if stride > 1:
            before = (size - 1) // 2
            x = tf.pad(x, [[0, 0], [before, size - 1 - before], [before, size - 1 - before], [0, 0]])
        if suits:
            return convolution.convolve(x, tf.cast(self.conv.kernel, x.dtype), stride)
        return self.conv(x)


class BatchNorm(tf.keras.layers.Layer):
    """BatchNorm over the global batch (momentum 0.9, epsilon 1e-5).

    On one replica the fused kernel runs; on many, mean and variance are averaged over the replicas. Both keep the *biased*
    variance as moving statistic (the fused kernel alone would keep the unbiased one), so one replica and many end alike.
    Within `micro_batch` it is BatchNorm over a part of the batch.

    Args:
      center: learn an offset beta.
      zero_gamma: start the scale at 0, so that a residual block starts as the identity.
    """

    MOMENTUM = 0.9
    EPSILON = 1.001e-5  # the released models ask for 1e-5, which the fused kernel raises to this least value of cuDNN's

    def __init__(self, center=True, zero_gamma=False, **kwargs):
        super().__init__(**kwargs)
        self._center = center
        self._gamma_initializer = "zeros" if zero_gamma else "ones"

    def build(self, shape):
        def add(name, initializer, **kwargs):
            # No autocast: statistics stay float32 whatever the compute dtype, as the fused kernel wants them.
            return self.add_weight(name, [shape[-1]], tf.float32, initializer, experimental_autocast=False, **kwargs)

        statistic = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.gamma = add("gamma", self._gamma_initializer)
        self.beta = add("beta", "zeros") if self._center else None
        self.moving_mean = add("moving_mean", "zeros", **statistic)
        self.moving_variance = add("moving_variance", "ones", **statistic)
        super().build(shape)

    def call(self, x, training=False):
        flat = x.shape.rank == 2
        x = x[:, None, None, :] if flat else x
        beta = self.beta if self._center else tf.zeros_like(self.gamma)
        if not training:
            y, _, _ = self._fused(x, beta, training=False)
        elif in_micro_batch() or tf.distribute.get_strategy().num_replicas_in_sync == 1:
            y, mean, variance = self._fused(x, beta, training=True)
            count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
            self._update(mean, variance * (count - 1.0) / count)
        else:
            y = self._synchronised(x, beta)
        return y[:, 0, 0, :] if flat else y

    def _fused(self, x, beta, training):
        moments = {} if training else {"mean": self.moving_mean, "variance": self.moving_variance}
        return tf.compat.v1.nn.fused_batch_norm(x, self.gamma, beta, epsilon=self.EPSILON, is_training=training, **moments)

    def _synchronised(self, x, beta):
        wide = tf.cast(x, tf.float32)
        mean = self._average(tf.reduce_mean(wide, [0, 1, 2]))
        # Not mean square minus squared mean, which loses the digits of a variance that is small beside the mean.
        variance = self._average(tf.reduce_mean(tf.square(wide - mean), [0, 1, 2]))
        self._update(mean, variance)
        return tf.cast(tf.nn.batch_normalization(wide, mean, variance, beta, self.gamma, self.EPSILON), x.dtype)

    def _average(self, local):
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, local)

    def _update(self, mean, variance):
        if not statistics_move():
            return
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub((1.0 - self.MOMENTUM) * (moving - tf.stop_gradient(value)))


class SupervisedHead(tf.keras.layers.Dense):
    """The classifier: float [B, D] to float32 logits [B, classes]; starts at zero (paper, appendix B.2)."""

    def __init__(self, num_classes, **kwargs):
        super().__init__(num_classes, kernel_initializer="zeros", dtype="float32", **kwargs)
