"""The memory of pretraining: a moving average of the network, and a queue of its projections (paper, section 2; He et al. 2020)."""

import tensorflow as tf

from tf_simclr.objectives.replicas import gather, gather_numbers

EMPTY = -1


class Memory(tf.Module):
    """An average network, and the queue of its projections of past batches as negatives; the paper names it, its semantics are ours.

    The average follows the weights of the online network. It runs in training mode, as that does, so that what it projects is distributed
    as what it is compared with; its moving statistics are its own. The queue is the same on every replica, oldest projection first.

    Args:
      average: a built `Network` of the same architecture as `online`, which becomes a copy of it.
      online: the network in training.
      decay: share of the average that stays at an update, in [0, 1]; 0: it is the online network as the last step left it.
      size: Q, projections in the queue.
    """

    def __init__(self, average, online, decay, size):
        super().__init__()
        for copy, variable in zip(average.variables, online.variables):
            copy.assign(variable)
        self.network = average
        self._decay = decay
        # Every replica has its own copy and computes the same for it: nothing needs to be sent when it is written, and one is saved.
        own = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.projections = tf.Variable(tf.zeros([size, online.spec.head_dim]), name="projections", **own)
        self.examples = tf.Variable(tf.fill([size], tf.constant(EMPTY, tf.int64)), name="examples", **own)

    def negatives(self, examples):
        """What the views of some images are told from.

        Args:
          examples: int64 [B], which images these are.

        Returns:
          (float32 [Q, D], bool [B, Q]): the queue; and whether an image meets an entry, which it does unless the slot is empty or holds
          an earlier projection of the same image.
        """
        theirs = self.examples.read_value()[None, :]
        return self.projections.read_value(), (theirs != EMPTY) & (theirs != examples[:, None])

    def follow(self, online):
        """Moves the average's trainable weights towards those of the online network: `average ← decay · average + (1 - decay) · online`."""

        def move(average, variable):
            average.assign(self._decay * average + (1.0 - self._decay) * variable)

        def across(strategy, averages, variables):
            for average, variable in zip(averages, variables):
                strategy.extended.update(average, move, args=(variable,), group=False)

        # A variable that all replicas share is written by all of them at once.
        tf.distribute.get_replica_context().merge_call(across, args=(self.network.trainable_variables, online.trainable_variables))

    def enqueue(self, first, second, examples):
        """Appends the projections of a global batch, first views before second ones and each in replica order; the oldest entries leave.

        Args:
          first, second: float [B, D], projections of the two views of this replica's images.
          examples: int64 [B], which images these are.
        """
        views = tf.math.l2_normalize(tf.cast(tf.stack([first, second]), tf.float32), axis=2)
        views = tf.reshape(gather(views, axis=1), [-1, views.shape[2]])
        size = self.projections.shape[0]
        self.projections.assign(tf.concat([self.projections, views], axis=0)[-size:])
        self.examples.assign(tf.concat([self.examples, tf.tile(gather_numbers(examples), [2])], axis=0)[-size:])
