"""Encoders by name: our ResNets, KerasCV's backbones, and Keras models that a user registers."""

import contextlib
import difflib
import weakref

import tensorflow as tf

from tf_simclr import kerascv
from tf_simclr.errors import UsageError
from tf_simclr.models import layers
from tf_simclr.models.keras_cv_presets import PRESETS
from tf_simclr.models.resnet import ResNet

KERAS_CV = "keras_cv:"
_LAST = "last"
_registered = {}
_weights = weakref.WeakValueDictionary()  # of what registered functions made, by id


def register_backbone(name, make):
    """Makes a Keras model of one's own known as a backbone, for `model__backbone=name` and `student__backbone=name`.

    A run keeps the name, not the function: a process that goes on from the run, or evaluates or exports it, must have registered
    the same function under it before.

    Args:
      name: str, not empty and without a colon.
      make: function from input_shape, (S, S, C), to a `tf.keras.Model` of float32 images [B, S, S, C] in [0, 1] that gives a feature
        map [B, H, W, D], whose mean over H and W becomes the features, or features [B, D]. It is called whenever a network is built, and
        makes a new model each time.

    Raises:
      UsageError: the name cannot be one, or `make` is no function.
    """
    if not name or ":" in name:
        raise UsageError(f"a backbone's name must have letters and no colon, got {name!r}; choose another one")
    if not callable(make):
        raise UsageError(f"register_backbone needs a function from input_shape to a keras.Model, got {make!r}; give that function")
    _registered[name] = make


def check_backbone(settings):
    """Raises UsageError where a `ModelConfig` or `StudentConfig` asks for a backbone that cannot be made in this process."""
    name = settings.backbone
    if settings.backbone_size and not name:
        raise UsageError(
            f"backbone_size needs a backbone, got {settings.backbone_size} and none; for our ResNet give a larger --image_size"
        )
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
    check_backbone(spec)
    side = spec.backbone_size or spec.image_size
    shape = (side, side, spec.channels)
    if spec.backbone.startswith(KERAS_CV):
        model, levels = _keras_cv(spec.backbone[len(KERAS_CV) :], shape)
    else:
        model, levels = _registered_one(spec.backbone, shape), {}
    _see_the_global_batch(model)
    return Backbone(model, spec.backbone_size, levels)


class Backbone(tf.keras.Model):
    """A functional Keras model as encoder.

    Args:
      model: from images to a feature map [B, H, W, D], or to features [B, D].
      size: side in pixels that images are resized to first; 0 leaves them as they are.
      levels: dict from the name of an endpoint to the model's layer that gives it.
    """

    def __init__(self, model, size, levels, **kwargs):
        super().__init__(**kwargs)
        self._size = size
        named = {name: model.get_layer(layer).output for name, layer in levels.items()}
        self.model = tf.keras.Model(model.input, {**named, _LAST: model.output})
        self.output_width = model.output.shape[-1]

    def endpoints(self, images, training=False):
        """All named activations; float images [B, S, S, C] in [0, 1].

        Returns:
          dict of float tensors: final_avg_pool [B, D]; of KerasCV's also block_group1 … block_group4 [B, H, W, D], as far as they
          have a level of a 4th, 8th, 16th and 32nd of the image's side, where our ResNets' groups have them.
        """
        if self._size:
            images = tf.cast(tf.image.resize(images, [self._size, self._size]), images.dtype)
        with _as_our_batch_norm(_batch_norms(self.model)):
            named = dict(self.model(images, training=training))
        last = named.pop(_LAST)
        return {**named, "final_avg_pool": tf.reduce_mean(last, axis=[1, 2]) if last.shape.rank == 4 else last}

    def call(self, images, training=False):
        """Features h, float [B, output_width]."""
        return self.endpoints(images, training=training)["final_avg_pool"]


def _keras_cv(name, shape):
    """One of KerasCV's models with random weights, and the layers that give endpoints.

    All of them begin by dividing by 255, and nothing else; this is left out, so that the first convolution gets of an image in [0, 1]
    what it would get of the same image in 0 to 255. Grey images stay one channel. The size is given, since some of them pad by it, and
    without it have kernels that are larger than their input where images are small. The moving statistics follow as fast as
    our own BatchNorm's: with the momentum of MobileNetV3, 0.999, they are two thirds what they began with after 400 steps.
    """
    cls, arguments = PRESETS[name]
    model = getattr(kerascv.load().models, cls)(**arguments, include_rescaling=False, input_shape=shape)
    for layer in _batch_norms(model):
        layer.momentum = layers.BatchNorm.MOMENTUM
    levels = {int(level[1:]): layer for level, layer in model.pyramid_level_inputs.items()}
    return model, {f"block_group{n - 1}": layer for n, layer in levels.items() if n > 1}


def _registered_one(name, shape):
    made = _registered[name](shape)
    if not isinstance(made, tf.keras.Model):
        raise UsageError(f"the backbone {name!r} must be made as a tf.keras.Model, got {type(made)}; return one from its function")
    images = tf.keras.Input(shape)
    output = made(images)
    if any(id(variable) in _weights for variable in made.variables):
        raise UsageError(f"the backbone {name!r} must be a new model for every network, got weights that another one has; make them anew")
    _weights.update({id(variable): variable for variable in made.variables})
    rank = getattr(getattr(output, "shape", None), "rank", None)
    if rank not in (2, 4) or output.shape[-1] is None:
        got = f"shape {output.shape}" if rank else f"{type(output).__name__}"
        raise UsageError(f"the backbone {name!r} must give [B, H, W, D] or [B, D] with a known D, got {got}; change it")
    return tf.keras.Model(images, output)


def _see_the_global_batch(model):
    """Under several replicas lets Keras' own BatchNorm average mean and variance over them, as ours does.

    The fused kernel cannot, and a layer chooses its kernel when it is built: both are changed here, whoever made the layer.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in _batch_norms(model):
            layer.fused, layer.synchronized = False, True


@contextlib.contextmanager
def _as_our_batch_norm(norms):
    """Within it Keras' own BatchNorm layers do in a micro-batch what ours do, see `layers.micro_batch`."""
    before = [(norm.momentum, norm.synchronized) for norm in norms]
    for norm in norms:
        norm.momentum = norm.momentum if layers.statistics_move() else 1.0
        norm.synchronized = norm.synchronized and not layers.in_micro_batch()
    try:
        yield
    finally:
        for norm, (momentum, synchronized) in zip(norms, before):
            norm.momentum, norm.synchronized = momentum, synchronized


def _batch_norms(model):
    every = tf.keras.layers.BatchNormalization.__base__  # also of the layer that is synchronised by its class
    return [layer for layer in model.submodules if isinstance(layer, every)]
