"""The train step of a training as one function of tensors, for compilers."""

import tensorflow as tf

from tf_simclr.augment.views import draws_of
from tf_simclr.stages import setup
from tf_simclr.stages.pretrain import contrastive_model
from tf_simclr.training.fit import prepare
from tf_simclr.training.models import DistillationModel, SupervisedModel


def make_step(training, batch_size, config):
    """The train step of a `Training`, on one replica, with weights and optimizer: what Keras' fit runs with `--jit`.

    Args:
      training: a `Training`.
      batch_size: images in a step of this replica.
      config: the `Config`; precision, augment_on, jit.

    Returns:
      (`tf.function` of the flattened batch that returns the flattened metrics, list of its `tf.TensorSpec`s).
    """
    model = _model(training, config.precision)
    prepare(model, training.fit, training.steps, config)
    batch = _batch(training, batch_size, config.augment_on == "device")

    def step(*tensors):
        return tf.nest.flatten(model.train_step(tf.nest.pack_sequence_as(batch, tensors)))

    return tf.function(step, jit_compile=config.jit, autograph=False), tf.nest.flatten(batch)


def _model(training, precision):
    network = setup.build_network(training.spec, training.head_layers, training.classes, 0, precision)
    fit = training.fit
    if training.name == "pretrain":
        return contrastive_model(network, fit, lambda: setup.build_network(training.spec, training.head_layers, 0, 0, precision))
    if training.teacher is None:
        return SupervisedModel(network)
    spec, head_layers = training.teacher
    teacher = setup.build_network(spec, head_layers, training.classes, 0, precision)
    return DistillationModel(network, teacher, fit.temperature, fit.alpha)


def _batch(training, size, on_device):
    """A batch as `data.pipeline` makes it, in `tf.TensorSpec`s; with views to be made on the device, of images of the network's size."""
    spec, fit = training.spec, training.fit
    shape, number = [size, spec.image_size, spec.image_size, spec.channels], tf.TensorSpec([size], tf.int64)
    part = {"position": number, "example": number}
    if on_device:
        part |= {"images": tf.TensorSpec(shape, tf.uint8), "draws": tf.TensorSpec([size, training.views, draws_of(fit)], tf.float32)}
    else:
        part["views"] = (tf.TensorSpec(shape, tf.float32),) * training.views
    labelled = {**part, "label": number}
    if training.teacher is None:
        return labelled if training.classes else part
    return {name: labelled if name == "labelled" else part for name in training.batches}
