"""NT-Xent, the normalised temperature-scaled cross-entropy loss (Chen et al. 2020, Algorithm 1; SimCLRv2 paper, equation 1)."""

import tensorflow as tf

from tf_simclr.objectives.replicas import gather, gather_numbers, replica_index

_NEVER = -1e9  # the logit of a view with what it must not meet: never chosen


def nt_xent(first, second, temperature, *, examples=None, keys=None, negatives=None, allowed=None):
    """This replica's share of the loss over the 2N views of the global batch.

    For view i with partner j: `-log(exp(cos(z_i, z_j)/τ) / Σ_k exp(cos(z_i, z_k)/τ))`, averaged over all 2N views; k runs over the 2N-1
    views other than i, less those of the same image where that comes twice, and the negatives allowed for i. Keys take the place of z_j
    and z_k, not of z_i. The shares of the replicas, and their gradients, *sum* to those of one replica with the whole batch.

    Args:
      first, second: float [B, D], projections of the two views of this replica's B images; any floating dtype, computed in float32.
      temperature: τ > 0.
      examples: int64 [B], which images these are: a batch that spans two epochs may hold one twice, which would be its own negative.
        None: all are different.
      keys: float [2, B, D], the same views as another network projects them; no gradient reaches them. None for none.
      negatives: float32 [Q, D] of unit length, further projections that every view is told from, the same on every replica; no
        gradient reaches them. None for none.
      allowed: bool [B, Q], which of them the two views of an image meet.

    Returns:
      dict of float32 scalars: loss (this replica's share), chance_loss (the loss of a network that has learnt nothing: the mean over this
      replica's views of the logarithm of how many the partner is chosen from, ln(2N-1) if all images differ and there are no negatives),
      contrastive_top1 (share of this replica's views whose partner is the most similar of all these, in [0, 1]), z_std (mean over
      dimensions of the standard deviation of √D · z over this replica's views; about 1 when spread evenly, 0 when collapsed).
    """
    views = tf.stack([tf.cast(first, tf.float32), tf.cast(second, tf.float32)])  # [2, B, D]
    views = tf.math.l2_normalize(views, axis=2)
    batch, dim = tf.shape(views)[1], views.shape[2]
    others = views if keys is None else tf.stop_gradient(tf.math.l2_normalize(tf.cast(keys, tf.float32), axis=2))
    everyone = gather(others, axis=1)  # [2, N, D]
    total = tf.shape(everyone)[1]
    logits = tf.matmul(tf.reshape(views, [-1, dim]), tf.reshape(everyone, [-1, dim]), transpose_b=True) / temperature  # [2B, 2N]
    own = replica_index() * batch + tf.range(batch)  # columns of this replica's first views
    partner = tf.concat([total + own, own], axis=0)
    same = own[:, None] == tf.range(total)[None, :] if examples is None else examples[:, None] == gather_numbers(examples)[None, :]
    same = tf.tile(same, [2, 2]) & (tf.range(2 * total)[None, :] != partner[:, None])
    logits = tf.where(same, _NEVER, logits)
    choices = tf.cast(2 * total, tf.float32) - tf.reduce_sum(tf.cast(same, tf.float32), axis=1)
    if negatives is not None:
        further = tf.matmul(tf.reshape(views, [-1, dim]), tf.stop_gradient(negatives), transpose_b=True) / temperature  # [2B, Q]
        logits = tf.concat([logits, tf.where(tf.tile(allowed, [2, 1]), further, _NEVER)], axis=1)
        choices += tf.tile(tf.reduce_sum(tf.cast(allowed, tf.float32), axis=1), [2])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(partner, logits)
    hits = tf.argmax(logits, axis=1, output_type=tf.int32) == partner
    spread = tf.math.reduce_std(tf.reshape(views, [-1, dim]), axis=0) * tf.sqrt(tf.cast(dim, tf.float32))
    return {
        "loss": tf.reduce_sum(losses) / tf.cast(2 * total, tf.float32),
        "chance_loss": tf.reduce_mean(tf.math.log(choices)),
        "contrastive_top1": tf.reduce_mean(tf.cast(hits, tf.float32)),
        "z_std": tf.reduce_mean(tf.stop_gradient(spread)),
    }
