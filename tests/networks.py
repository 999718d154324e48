"""A small network and batches for it, for tests of single training steps."""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_simclr.config import ModelConfig

BATCH = 16
SPEC = ModelConfig(depth=10, width=0.1, sk=True, stem="cifar", image_size=8, channels=1, head_layers=2, head_dim=4)
PLAIN = dataclasses.replace(SPEC, sk=False)


def images(rng):
    """float32 [BATCH, 8, 8, 1]; the second half, which is the second replica's, is unlike the first."""
    scale = np.repeat([1.0, 0.3], BATCH // 2)[:, None, None, None]
    return (rng.random((BATCH, 8, 8, 1)) * scale + (1 - scale)).astype(np.float32)


def halves(strategy, batch):
    """A batch of arrays, half of it for each of two replicas."""

    def split(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(array, 2)[context.replica_id_in_sync_group])
        )

    return tf.nest.map_structure(split, batch)
