"""The projection head; fine-tuning starts from one of its layers (paper, section 2)."""

import tensorflow as tf

from tf_simclr.models.layers import BatchNorm


class HeadLayer(tf.keras.layers.Layer):
    """Dense without bias and BatchNorm; a hidden layer adds ReLU, the last one has no offset. Float [B, D] to [B, units]."""

    def __init__(self, units, last, **kwargs):
        super().__init__(**kwargs)
        self.dense = tf.keras.layers.Dense(units, use_bias=False, kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01))
        self.norm = BatchNorm(center=not last)
        self._last = last

    def call(self, x, training=False):
        x = self.norm(self.dense(x), training=training)
        return x if self._last else tf.nn.relu(x)


class ProjectionHead(tf.keras.layers.Layer):
    """The first `kept` of `layers` layers of a projection head.

    Called with features h, float [B, D], it returns the list that the selector indexes, in training, evaluation and export alike:
    element 0 is h, element 1 the output of the first layer (after BatchNorm and ReLU), and so on; the last of a whole head is z.

    Args:
      layers: layers of the whole head.
      hidden: width of the hidden layers.
      dim: width of z.
      kept: layers that exist here, 0 to `layers`; fine-tuned networks keep as many as their selector says.
    """

    def __init__(self, layers, hidden, dim, kept, **kwargs):
        super().__init__(**kwargs)
        self.layers = [HeadLayer(dim if last else hidden, last) for last in (i == layers - 1 for i in range(layers))][:kept]

    def call(self, h, training=False):
        outputs = [h]
        for layer in self.layers:
            outputs.append(layer(outputs[-1], training=training))
        return outputs
