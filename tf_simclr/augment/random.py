"""Random numbers as a function of (seed, position, view): no generator state anywhere.

Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), written in
ordinary integer operations, so that a draw is the same bit for bit on host, accelerator, eagerly, in a graph and under XLA.
"""

import numpy as np
import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _rotate(x, bits):
    return tf.bitwise.bitwise_or(
        tf.bitwise.left_shift(x, tf.constant(bits, tf.uint32)), tf.bitwise.right_shift(x, tf.constant(32 - bits, tf.uint32))
    )


# A function, so that a process traces these hundred operations once and not for every data set.
@tf.function(input_signature=[(tf.TensorSpec(None, tf.uint32),) * 2] * 2, autograph=False)
def threefry(key, counter):
    """Encrypts a counter of two words under a key of two words.

    Args:
      key, counter: two uint32 tensors each; all four broadcast against each other.

    Returns:
      Two uint32 tensors of the shape that they broadcast to, uniform over all 32-bit words.
    """
    parity = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]), tf.constant(_PARITY, tf.uint32))
    keys = (key[0], key[1], parity)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for block in range(5):
        for bits in _ROTATIONS[block % 2]:
            x = x + y
            y = tf.bitwise.bitwise_xor(_rotate(y, bits), x)
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + tf.constant(block + 1, tf.uint32)
    return x, y


def uniform(seed, positions, view, count):
    """Independent uniform draws for every position of the training sequence.

    Args:
      seed: int, the run's seed.
      positions: int64 [B], positions in the sequence of training examples, ≥ 0.
      view: int, or V of them: which views of the image the draws are for (views of one position are independent).
      count: int, draws per position and view, at most 4,096.

    Returns:
      float32 [B, count], of several views [B, V, count], in [0, 1), a function of the arguments alone.
    """
    view = np.asarray(view, np.uint32)
    positions = tf.convert_to_tensor(positions, tf.int64)
    pairs = (count + 1) // 2
    low = tf.cast(tf.bitwise.bitwise_and(positions, tf.constant(0xFFFFFFFF, tf.int64)), tf.uint32)
    high = tf.cast(tf.bitwise.right_shift(positions, tf.constant(32, tf.int64)), tf.uint32) * 4096
    low, high = (tf.reshape(word, [-1] + [1] * (view.ndim + 1)) for word in (low, high))
    key = (tf.constant(seed & 0xFFFFFFFF, tf.uint32), tf.constant(view[..., None]))
    words = tf.concat(threefry(key, (low, high + tf.cast(tf.range(pairs), tf.uint32))), axis=-1)
    words = tf.ensure_shape(words, [*low.shape[:1], *view.shape, 2 * pairs])[..., :count]
    return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) * (1.0 / (1 << 24))
