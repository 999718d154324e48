"""ResNet-50 with selective kernels and its projection head, of plain Keras layers: what most people would write, and have written.

BatchNorm is Keras' synchronised one, of single operations. The layers come in the order of ours, so that weights can be copied one by one.
"""

import tensorflow as tf

layers = tf.keras.layers


def norm(**options):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True, **options)


class Conv(layers.Layer):
    """Convolution, BatchNorm, ReLU; padded on both sides alike."""

    def __init__(self, filters, kernel_size, stride=1, relu=True, **options):
        super().__init__()
        initializer = tf.keras.initializers.VarianceScaling()
        side = (kernel_size - 1) // 2 if stride > 1 else 0
        padding = "valid" if side else "same"
        self.pad = layers.ZeroPadding2D(side)
        self.conv = layers.Conv2D(filters, kernel_size, stride, padding, use_bias=False, kernel_initializer=initializer)
        self.norm = norm(**options)
        self.relu = layers.ReLU() if relu else layers.Activation("linear")

    def call(self, x, training=False):
        return self.relu(self.norm(self.conv(self.pad(x)), training=training))


class SelectiveKernel(layers.Layer):
    def __init__(self, filters, stride):
        super().__init__()
        self.streams = Conv(2 * filters, 3, stride)
        self.pool = layers.GlobalAveragePooling2D(keepdims=True)
        self.squeeze = Conv(max(filters // 16, 32), 1)
        self.mixing = layers.Conv2D(2 * filters, 1, use_bias=False, kernel_initializer=tf.keras.initializers.VarianceScaling())
        self.split = layers.Reshape([1, 1, 2, filters])
        self.softmax = layers.Softmax(axis=3)

    def call(self, x, training=False):
        streams = tf.stack(tf.split(self.streams(x, training=training), 2, axis=3), axis=3)
        scores = self.mixing(self.squeeze(self.pool(tf.reduce_sum(streams, axis=3)), training=training))
        return tf.reduce_sum(streams * self.softmax(self.split(scores)), axis=3)


class Bottleneck(layers.Layer):
    def __init__(self, filters, stride, project):
        super().__init__()
        self.project = project
        if project:
            pool = layers.AveragePooling2D(2, stride, "valid" if stride > 1 else "same")
            self.pool = tf.keras.Sequential([layers.ZeroPadding2D(((0, 1), (0, 1))), pool]) if stride > 1 else pool
            self.shortcut = Conv(4 * filters, 1, relu=False)
        self.first = Conv(filters, 1)
        self.spatial = SelectiveKernel(filters, stride)
        self.last = Conv(4 * filters, 1, relu=False, gamma_initializer="zeros")
        self.add, self.relu = layers.Add(), layers.ReLU()

    def call(self, x, training=False):
        residual = self.shortcut(self.pool(x), training=training) if self.project else x
        x = self.spatial(self.first(x, training=training), training=training)
        return self.relu(self.add([self.last(x, training=training), residual]))


class HeadLayer(layers.Layer):
    def __init__(self, units, last):
        super().__init__()
        self.dense = layers.Dense(units, use_bias=False, kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01))
        self.norm = norm(center=not last)
        self.relu = layers.Activation("linear") if last else layers.ReLU()

    def call(self, x, training=False):
        return self.relu(self.norm(self.dense(x), training=training))


class PlainNetwork(tf.keras.Model):
    """Images [B, S, S, 3] to what our `Network` of the same settings returns, by the same names.

    Args:
      spec: a resolved `ModelConfig` of depth 50 with selective kernels and the stem for large images.
    """

    classifier = None

    def __init__(self, spec):
        super().__init__()
        channels = round(64 * spec.width)
        self.stem = [Conv(channels // 2, 3, 2), Conv(channels // 2, 3), Conv(channels, 3)]
        self.pool = layers.MaxPooling2D(3, 2, "same")
        self.blocks = []
        for group, count in enumerate((3, 4, 6, 3)):
            for i in range(count):
                self.blocks.append(Bottleneck(channels * 2**group, 2 if group > 0 and i == 0 else 1, project=i == 0))
        self.average = layers.GlobalAveragePooling2D()
        width = 4 * channels * 8
        self.head = [HeadLayer(width, False) for _ in range(spec.head_layers - 1)] + [HeadLayer(spec.head_dim, True)]
        self.build([None, spec.image_size, spec.image_size, spec.channels])

    def call(self, images, training=False):
        x = images
        for conv in self.stem:
            x = conv(x, training=training)
        x = self.pool(x)
        for block in self.blocks:
            x = block(x, training=training)
        features = [self.average(x)]
        for layer in self.head:
            features.append(layer(features[-1], training=training))
        return {"features": features}
