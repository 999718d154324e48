"""Encoders by name: our ResNets, KerasCV's backbones, and Keras models that a user registers."""

import contextlib
import difflib
import io
import os

import tensorflow as tf

from tf_simclr.errors import UsageError
from tf_simclr.models.keras_cv_presets import PRESETS
from tf_simclr.models.layers import BatchNorm
from tf_simclr.models.resnet import ResNet

KERAS_CV = "keras_cv:"
_LAST = "last"
_registered = {}


def register_backbone(name, make):
    """Makes a Keras model of one's own known as a backbone, for `model__backbone=name` and `student__backbone=name`.

    A run keeps the name, not the function: a process that goes on from the run, or evaluates or exports it, must have registered
    the same function under it before.

    Args:
      name: str, not empty and without a colon.
      make: function from input_shape, (S, S, C), to a `tf.keras.Model` of float32 images [B, S, S, C] in [0, 1] that gives a feature
        map [B, H, W, D], whose mean over H and W becomes the features, or features [B, D]. It is called whenever a network is built.

    Raises:
      UsageError: the name cannot be one, or `make` is no function.
    """
    if not name or ":" in name:
        raise UsageError(f"a backbone's name must have letters and no colon, got {name!r}; choose another one")
    if not callable(make):
        raise UsageError(f"register_backbone needs a function from input_shape to a keras.Model, got {make!r}; give that function")
    _registered[name] = make


def check_backbone(name):
    """Raises UsageError for a backbone that cannot be made in this process; '' is our ResNet."""
    if not name or name in _registered or (name.startswith(KERAS_CV) and name[len(KERAS_CV) :] in PRESETS):
        return
    if name.startswith(KERAS_CV):
        near = difflib.get_close_matches(name[len(KERAS_CV) :], PRESETS, n=3, cutoff=0.4) or list(PRESETS)
        raise UsageError(f"backbone must be one of KerasCV's presets without weights, got {name}; near: {', '.join(near)}")
    known = ", ".join(_registered) or "none"
    raise UsageError(
        f"backbone must be {KERAS_CV}NAME, or one that this process has registered ({known}), got {name!r}; call"
        f" tf_simclr.register_backbone({name!r}, make) first"
    )


def make_encoder(spec):
    """The encoder of a resolved `ModelConfig`: a Keras model with `output_width`, `call(images, training)` to features h, float
    [B, output_width], and `endpoints(images, training)`, a dict with at least `final_avg_pool`, which is h.

    Raises:
      UsageError: see `check_backbone`; or what a registered function makes is no such model.
    """
    if not spec.backbone:
        return ResNet(spec.depth, spec.width, spec.sk, spec.stem)
    check_backbone(spec.backbone)
    if spec.backbone.startswith(KERAS_CV):
        encoder = _keras_cv(spec.backbone[len(KERAS_CV) :], spec.channels)
    else:
        encoder = _registered_one(spec)
    _see_the_global_batch(encoder)
    return encoder


class Backbone(tf.keras.Model):
    """A functional Keras model as encoder.

    Args:
      model: from images to a feature map [B, H, W, D], or to features [B, D].
      levels: dict from the name of an endpoint to the model's layer that gives it.
    """

    def __init__(self, model, levels=None, **kwargs):
        super().__init__(**kwargs)
        named = {name: model.get_layer(layer).output for name, layer in (levels or {}).items()}
        self.model = tf.keras.Model(model.input, {**named, _LAST: model.output})
        self.output_width = model.output.shape[-1]

    def endpoints(self, images, training=False):
        """All named activations; float images [B, S, S, C] in [0, 1].

        Returns:
          dict of float tensors: final_avg_pool [B, D]; of KerasCV's also block_group1 … block_group4 [B, H, W, D], as far as they
          have a level of a 4th, 8th, 16th and 32nd of the image's side, where our ResNets' groups have them.
        """
        named = dict(self.model(images, training=training))
        last = named.pop(_LAST)
        return {**named, "final_avg_pool": tf.reduce_mean(last, axis=[1, 2]) if last.shape.rank == 4 else last}

    def call(self, images, training=False):
        """Features h, float [B, output_width]."""
        return self.endpoints(images, training=training)["final_avg_pool"]


def _keras_cv(name, channels):
    """One of KerasCV's, with random weights.

    All of them begin by dividing by 255, and nothing else; this is left out, so that the first convolution gets of an image in [0, 1]
    what it would get of the same image in 0 to 255. Grey images stay one channel. The moving statistics follow as fast as
    our own BatchNorm's: MobileNetV3 has a momentum of 0.999, which needs thousands of steps before the network can be evaluated.
    """
    cls, arguments = PRESETS[name]
    model = getattr(_import_keras_cv().models, cls)(**arguments, include_rescaling=False, input_shape=(None, None, channels))
    for layer in _batch_norms(model):
        layer.momentum = BatchNorm.MOMENTUM
    levels = {int(level[1:]): layer for level, layer in model.pyramid_level_inputs.items()}
    return Backbone(model, {f"block_group{n - 1}": layer for n, layer in levels.items() if n > 1})


def _import_keras_cv():
    """KerasCV, which takes seconds to load. The package beneath it says its backend on stdout, and would write a file to remember it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_cv
    return keras_cv


def _registered_one(spec):
    shape = (spec.image_size, spec.image_size, spec.channels)
    made = _registered[spec.backbone](shape)
    if not isinstance(made, tf.keras.Model):
        raise UsageError(f"the backbone {spec.backbone!r} must be made as a tf.keras.Model, got {type(made)}; return one from its function")
    images = tf.keras.Input(shape)
    output = made(images)
    rank = getattr(getattr(output, "shape", None), "rank", None)
    if rank not in (2, 4) or output.shape[-1] is None:
        got = f"shape {output.shape}" if rank else f"{type(output).__name__}"
        raise UsageError(f"the backbone {spec.backbone!r} must give [B, H, W, D] or [B, D] with a known D, got {got}; change it")
    return Backbone(tf.keras.Model(images, output))


def _see_the_global_batch(encoder):
    """Under several replicas lets Keras' own BatchNorm average mean and variance over them, as ours does.

    The fused kernel cannot, and a layer chooses its kernel when it is built: both are changed here, whoever made the layer.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in _batch_norms(encoder):
            layer.fused, layer.synchronized = False, True


def _batch_norms(model):
    return [layer for layer in model.submodules if isinstance(layer, tf.keras.layers.BatchNormalization)]
