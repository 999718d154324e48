"""Explicit communication between replicas."""

import tensorflow as tf


def replica_index():
    """int32 scalar: which replica this is, 0 on one."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def replica_count():
    """How many replicas compute together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gather(tensor, axis):
    """Concatenates a tensor of every replica, in replica order; all replicas must hold the same shape.

    Written as a sum over replicas of blocks that are zero elsewhere: static shapes, TPU-ready, and the gradient, again a sum
    over replicas, brings back to each replica what all the others' losses say about its block.

    Args:
      tensor: float [..., B, ...].
      axis: axis of length B.

    Returns:
      [..., replicas · B, ...], of the same dtype; on one replica the tensor itself.
    """
    replicas = replica_count()
    if replicas == 1:
        return tensor
    mine = tf.one_hot(replica_index(), replicas, dtype=tensor.dtype)
    blocks = tf.reshape(mine, [-1] + [1] * tensor.shape.rank) * tensor  # [R, ..., B, ...]
    blocks = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, blocks)
    return tf.concat(tf.unstack(blocks, num=replicas), axis=axis)


def gather_numbers(numbers):
    """`gather` of int64 [B] in [0, 2⁴⁸), of the same dtype.

    In float32 halves of 24 bits, which is exact: sums over replicas of floating-point numbers are what every accelerator has.
    """
    if replica_count() == 1:
        return numbers
    halves = tf.cast(tf.stack([numbers // (1 << 24), numbers % (1 << 24)]), tf.float32)
    high, low = tf.unstack(tf.cast(gather(halves, axis=1), tf.int64))
    return high * (1 << 24) + low
