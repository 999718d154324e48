"""Residual blocks, with and without selective kernels (Li et al. 2019; paper, section 3.1)."""

import functools

import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv, recomputed, recomputes


def chain(layers, x, training, lean, again=False):
    """Runs layers of two parts, `convolve` and `finish`, one after the other.

    Args:
      layers: list of `ConvNorm` and `SelectiveKernel`.
      x: float [B, H, W, C].
      training: as everywhere in Keras.
      lean: where gradients recompute, keep of what is between two convolutions nothing but the output of the first. With selective
        kernels, whose streams are wide, that is a third of all that is kept; without, it was not worth its time.
      again: where `lean` does something, let the last convolution run again for the gradient, too, instead of keeping its output.
    """
    if not (lean and recomputes()):
        for layer in layers:
            x = layer(x, training=training)
        return x
    x = layers[0].convolve(x)
    for before, after in zip(layers, layers[1:]):
        proceed = functools.partial(after, training=training) if again and after is layers[-1] else after.convolve
        x = recomputed(lambda x, before=before, proceed=proceed: proceed(before.finish(x, training)), x)
    return x if again else layers[-1].finish(x, training)


class ConvNorm(tf.keras.layers.Layer):
    """Conv, BatchNorm and, unless told otherwise, ReLU."""

    def __init__(self, filters, kernel_size, stride=1, relu=True, zero_gamma=False, **kwargs):
        super().__init__(**kwargs)
        self.conv = Conv(filters, kernel_size, stride)
        self.norm = BatchNorm(zero_gamma=zero_gamma)
        self._relu = relu

    def call(self, x, training=False):
        return self.finish(self.convolve(x), training)

    def convolve(self, x):
        return self.conv(x)

    def finish(self, x, training):
        """What comes after the convolution."""
        x = self.norm(x, training=training)
        return tf.nn.relu(x) if self._relu else x


class SelectiveKernel(tf.keras.layers.Layer):
    """One 3×3 convolution to two streams, mixed per channel by attention over their pooled sum; then ReLU has been applied.

    Input float [B, H, W, C], output float [B, ceil(H / stride), ceil(W / stride), filters].
    """

    def __init__(self, filters, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.streams = ConvNorm(2 * filters, 3, stride)
        self.squeeze = ConvNorm(max(filters // 16, 32), 1)
        self.mixing = Conv(2 * filters, 1)

    def call(self, x, training=False):
        return self._mix(self.streams(x, training=training), training)

    def convolve(self, x):
        return self.streams.convolve(x)

    def finish(self, x, training):
        """What comes after the convolution."""
        return self._mix(self.streams.finish(x, training), training)

    def _mix(self, x, training):
        pooled = tf.add(*tf.split(tf.reduce_mean(x, axis=[1, 2], keepdims=True), 2, axis=-1))
        scores = tf.cast(self.mixing(self.squeeze(pooled, training=training)), tf.float32)
        # A softmax over two is a sigmoid of their difference. The kernel of the former, along an axis that is not the last, took a tenth
        # of a small network's step on a CPU.
        share = tf.cast(tf.sigmoid(tf.subtract(*tf.split(scores, 2, axis=-1))), x.dtype)
        first, second = tf.split(x, 2, axis=-1)
        return second + share * (first - second)


class Shortcut(tf.keras.layers.Layer):
    """The projection shortcut: strided 1×1; with selective kernels ResNet-D's 2×2 average pool before a 1×1."""

    def __init__(self, filters, stride, sk, **kwargs):
        super().__init__(**kwargs)
        self._pool_stride = stride if sk else 0
        self.project = ConvNorm(filters, 1, 1 if sk else stride, relu=False)

    def call(self, x, training=False):
        if self._pool_stride > 1:
            x = tf.nn.avg_pool2d(tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]), 2, self._pool_stride, "VALID")
        elif self._pool_stride == 1:
            x = tf.nn.avg_pool2d(x, 2, 1, "SAME")
        return self.project(x, training=training)


class ResidualBlock(tf.keras.layers.Layer):
    """A shortcut plus a branch whose last BatchNorm starts at zero.

    Input float [B, H, W, C], output float [B, ceil(H / stride), ceil(W / stride), filters · EXPANSION].

    Args:
      filters: channels inside the block.
      stride: of the spatial convolution.
      sk: make the spatial convolution a selective kernel.
      project: give the shortcut a convolution.
    """

    EXPANSION = 1
    AGAIN = 0  # filters up to which the block's last convolution runs again for the gradient, see `chain`

    def __init__(self, filters, stride, sk, project, **kwargs):
        super().__init__(**kwargs)
        self._lean = sk
        self._again = sk and filters <= self.AGAIN
        self.shortcut = Shortcut(filters * self.EXPANSION, stride, sk) if project else None
        self.branch = self._make_branch(filters, SelectiveKernel(filters, stride) if sk else ConvNorm(filters, 3, stride))

    def call(self, x, training=False):
        residual = x if self.shortcut is None else self.shortcut(x, training=training)
        return tf.nn.relu(chain(self.branch, x, training, self._lean, self._again) + residual)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions; with `sk` the first one is a selective kernel."""

    def _make_branch(self, filters, spatial):
        return [spatial, ConvNorm(filters, 3, relu=False, zero_gamma=True)]


class Bottleneck(ResidualBlock):
    """1×1, 3×3 (or selective kernel), 1×1 to four times the filters."""

    EXPANSION = 4
    # A 1×1 to the widest tensor of the block. The time that it takes for each byte of it grows with the filters: up to here it is worth it.
    AGAIN = 128

    def _make_branch(self, filters, spatial):
        return [ConvNorm(filters, 1), spatial, ConvNorm(filters * 4, 1, relu=False, zero_gamma=True)]
