"""The order of training examples as a function of the position: no iterator state, so a resumed run is the same run.

Position p = step · batch + slot is counted over the global batch; epoch = p // N; the example is permutation(seed, epoch)[p mod N].
"""

import tensorflow as tf


def example_at(positions, seed, stream, examples):
    """Which example stands at each position of the endless training sequence.

    Args:
      positions: int64 [B], ≥ 0.
      seed: int, the run's seed.
      stream: int; sequences of one run that must be independent (labelled and unlabelled images) have different ones.
      examples: int, number N of examples, ≥ 1.

    Returns:
      int64 [B] in [0, N); every epoch of N positions is a permutation, another one each epoch. Of some hundred examples not all
      permutations are equally likely: at N = 100 an example is in some places up to four times as often as by chance, in others never.
    """
    epochs = positions // examples
    key = tf.stack(
        [tf.fill(tf.shape(epochs), tf.constant(seed, tf.int64)), tf.fill(tf.shape(epochs), tf.constant(stream, tf.int64)), epochs], axis=1
    )
    # The raw op, since `tf.random.experimental.index_shuffle` pads a batch of seeds along the batch as well (seen in 2.15).
    return tf.raw_ops.RandomIndexShuffle(index=positions % examples, seed=key, max_index=tf.constant(examples - 1, tf.int64), rounds=4)
