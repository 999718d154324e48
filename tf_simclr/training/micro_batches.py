"""A batch that passes in parts: exact gradients of a loss over the whole batch in the memory of one part (Gao et al. 2021, GradCache).

All parts pass once without keeping activations; the loss and its gradient in the projections need these alone; then every part passes
again, and its share of that gradient goes back to the weights. Loops, not unrolled and one turn at a time: neither the graph nor what
is in flight grows with the number of parts.
"""

import tensorflow as tf

from tf_simclr.models.layers import micro_batch


def features(network, views, size, moves):
    """Runs a network in training mode on both views of `size` images at a time; nothing is kept for a gradient.

    Args:
      network: a `Network`.
      views: two float [B, S, S, C], B a multiple of `size`.
      size: images of a micro-batch. BatchNorm's statistics are those of its 2 · size views.
      moves: whether BatchNorm's moving statistics move, once per micro-batch.

    Returns:
      (h, z), float32 [2, B, D].
    """
    count = views[0].shape[0] // size

    def run(i):
        with micro_batch(moves):
            found = network(_part(views, size, i), training=True)["features"]
        return tuple(tf.cast(x, tf.float32) for x in (found[0], found[-1]))

    def whole(parts):
        width = parts.shape[2]
        return tf.reshape(tf.transpose(tf.reshape(parts, [count, 2, size, width]), [1, 0, 2, 3]), [2, count * size, width])

    shapes = tuple(tf.TensorSpec([2 * size, width]) for width in (network.encoder.output_width, network.spec.head_dim))
    h, z = tf.map_fn(run, tf.range(count), parallel_iterations=1, fn_output_signature=shapes)
    return whole(h), whole(z)


def gradients(network, views, size, upstream):
    """Brings the gradient of a loss in the projections back to the weights; BatchNorm's moving statistics move once per micro-batch.

    Args:
      network, views, size: as given to `features`.
      upstream: float32 [2, B, D], the gradient in z.

    Returns:
      A list of tensors, the gradients in `network.trainable_variables`.
    """
    weights = network.trainable_variables

    def add(i, sums):
        with micro_batch(moves=True), tf.GradientTape() as tape:
            z = network(_part(views, size, i), training=True)["features"][-1]
        share = tape.gradient(z, weights, tf.cast(_part(tf.unstack(upstream), size, i), z.dtype))
        return i + 1, [total + gradient for total, gradient in zip(sums, share)]

    start = (tf.constant(0), [tf.zeros(v.shape, v.dtype) for v in weights])
    _, sums = tf.while_loop(lambda i, _: i * size < views[0].shape[0], add, start, parallel_iterations=1)
    return sums


def _part(pair, size, i):
    """The i-th `size` entries of both members of a pair, one after the other: [2 · size, …]."""
    parts = [tf.slice(x, [i * size] + [0] * (x.shape.rank - 1), [size, *x.shape[1:]]) for x in pair]
    return tf.concat(parts, axis=0)
