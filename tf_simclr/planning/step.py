"""The train step of a training as one function of tensors, for compilers."""

import tensorflow as tf

from tf_simclr.optimizers.build import build
from tf_simclr.stages import setup
from tf_simclr.training.models import ContrastiveModel, DistillationModel, SupervisedModel


def make_step(training, batch_size):
    """The train step of a `Training`, on one replica, with weights and optimizer: what Keras' fit runs, unless it is told otherwise.

    Args:
      training: a `Training`.
      batch_size: images in a step of this replica.

    Returns:
      (`tf.function` of the flattened batch that returns the flattened metrics, list of its `tf.TensorSpec`s).
    """
    model = _model(training)
    optimizer = build(model.network, training.fit, training.steps)
    optimizer.build(model.network.trainable_variables)
    model.compile(optimizer=optimizer)
    batch = _batch(training, batch_size)

    def step(*tensors):
        return tf.nest.flatten(model.train_step(tf.nest.pack_sequence_as(batch, tensors)))

    return tf.function(step, jit_compile=True, autograph=False), tf.nest.flatten(batch)


def _model(training):
    network = setup.build_network(training.spec, training.head_layers, training.classes, seed=0)
    fit = training.fit
    if training.name == "pretrain":
        return ContrastiveModel(network, fit.temperature)
    if training.teacher is None:
        return SupervisedModel(network, fit.weight_decay)
    spec, head_layers = training.teacher
    teacher = setup.build_network(spec, head_layers, training.classes, seed=0)
    return DistillationModel(network, teacher, fit.temperature, fit.alpha, fit.weight_decay)


def _batch(training, size):
    """A batch as `data.pipeline` makes it, in `tf.TensorSpec`s."""
    spec, fit = training.spec, training.fit
    view = tf.TensorSpec([size, spec.image_size, spec.image_size, spec.channels], tf.float32)
    number = tf.TensorSpec([size], tf.int64)
    part = {"views": (view,) * training.views, "position": number, "example": number}
    labelled = {**part, "label": number}
    if training.teacher is None:
        batch = labelled if training.classes else part
    else:
        batch = ({"unlabelled": part} if fit.alpha > 0 else {}) | ({"labelled": labelled} if fit.alpha < 1 else {})
    return {**batch, "wait": tf.TensorSpec([1], tf.float32)}
