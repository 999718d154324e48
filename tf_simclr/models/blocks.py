"""Residual blocks, with and without selective kernels (Li et al. 2019; paper, section 3.1)."""

import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv


class ConvNorm(tf.keras.layers.Layer):
    """Conv, BatchNorm and, unless told otherwise, ReLU."""

    def __init__(self, filters, kernel_size, stride=1, relu=True, zero_gamma=False, **kwargs):
        super().__init__(**kwargs)
        self.conv = Conv(filters, kernel_size, stride)
        self.norm = BatchNorm(zero_gamma=zero_gamma)
        self._relu = relu

    def call(self, x, training=False):
        x = self.norm(self.conv(x), training=training)
        return tf.nn.relu(x) if self._relu else x


class SelectiveKernel(tf.keras.layers.Layer):
    """One 3×3 convolution to two streams, mixed per channel by attention over their pooled sum; then ReLU has been applied.

    Input float [B, H, W, C], output float [B, ceil(H / stride), ceil(W / stride), filters].
    """

    def __init__(self, filters, stride=1, **kwargs):
        super().__init__(**kwargs)
        self._filters = filters
        self.streams = ConvNorm(2 * filters, 3, stride)
        self.squeeze = ConvNorm(max(filters // 16, 32), 1)
        self.mixing = Conv(2 * filters, 1)

    def call(self, x, training=False):
        first, second = tf.split(self.streams(x, training=training), 2, axis=-1)
        pooled = tf.reduce_mean(first + second, axis=[1, 2], keepdims=True)
        scores = self.mixing(self.squeeze(pooled, training=training))
        scores = tf.reshape(scores, [-1, 1, 1, 2, self._filters])
        share = tf.nn.softmax(tf.cast(scores, tf.float32), axis=3)
        share = tf.cast(share, first.dtype)
        return first * share[:, :, :, 0] + second * share[:, :, :, 1]


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

    def __init__(self, filters, stride, sk, project, **kwargs):
        super().__init__(**kwargs)
        self.shortcut = Shortcut(filters * self.EXPANSION, stride, sk) if project else None
        self.branch = self._make_branch(filters, SelectiveKernel(filters, stride) if sk else ConvNorm(filters, 3, stride))

    def call(self, x, training=False):
        residual = x if self.shortcut is None else self.shortcut(x, training=training)
        for layer in self.branch:
            x = layer(x, training=training)
        return tf.nn.relu(x + residual)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions; with `sk` the first one is a selective kernel."""

    def _make_branch(self, filters, spatial):
        return [spatial, ConvNorm(filters, 3, relu=False, zero_gamma=True)]


class Bottleneck(ResidualBlock):
    """1×1, 3×3 (or selective kernel), 1×1 to four times the filters."""

    EXPANSION = 4

    def _make_branch(self, filters, spatial):
        return [ConvNorm(filters, 1), spatial, ConvNorm(filters * 4, 1, relu=False, zero_gamma=True)]
