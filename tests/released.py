"""Files with the names, shapes and order of creation of the released SimCLR models, and random weights in them.

Written from what is public about those files and not from the package: what imports them is tested against this.
"""

import numpy as np
import tensorflow as tf

COUNTS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def encoder_layers(depth, width=1.0, sk=False, stem="imagenet", channels=3):
    """The layers in order of creation: (path of a TF2 model, 'conv', kernel shape) or (path, 'norm', channels)."""

    def conv(path, size, inputs, outputs):
        return path, "conv", (size, size, inputs, outputs)

    def conv_norm(path, size, inputs, outputs):
        return [conv(f"{path}/fixed", size, inputs, outputs), (f"{path}/relu", "norm", outputs)]

    first, layers = round(64 * width), []
    if stem == "imagenet" and sk:
        sizes = ((channels, first // 2), (first // 2, first // 2), (first // 2, first))
        layers += [layer for inputs, outputs in sizes for layer in conv_norm("resnet", 3, inputs, outputs)]
    else:
        layers += conv_norm("resnet", 7 if stem == "imagenet" else 3, channels, first)
    inputs, bottleneck = first, depth >= 50
    for group, count in enumerate(COUNTS[depth]):
        f = round(64 * 2**group * width)
        outputs = 4 * f if bottleneck else f
        for block in range(count):
            kind = "bottleneck_block" if bottleneck else "residual_block"
            path = f"resnet/block_group{group + 1}/{kind}" + (f"_{block}" if block else "")
            if block == 0:
                layers += conv_norm(f"{path}/shortcut", 1, inputs, outputs)
            if bottleneck:
                layers += conv_norm(path, 1, inputs, f)
            spatial = f if bottleneck else inputs
            if sk:
                squeezed = max(f // 16, 32)
                layers += conv_norm(f"{path}/sk__conv2d", 3, spatial, 2 * f) + conv_norm(f"{path}/sk__conv2d", 1, f, squeezed)
                layers += [conv(f"{path}/sk__conv2d", 1, squeezed, 2 * f)]
            else:
                layers += conv_norm(path, 3, spatial, f)
            layers += conv_norm(path, 1 if bottleneck else 3, f, outputs)
            inputs = outputs
    return layers


def _numbered(name, index):
    return f"{name}_{index}" if index else name


def _tf1_encoder(kind, index, path):
    return "base_model/" + _numbered({"conv": "conv2d", "norm": "batch_normalization"}[kind], index)


def _tf2_encoder(kind, index, path):
    """A convolution within `conv2d_fixed_padding` and a BatchNorm within `batch_norm_relu`, as the layers of those models are."""
    if kind == "conv":
        return "/".join([path.replace("/fixed", f"/{_numbered('conv2d_fixed_padding', index)}"), _numbered("conv2d", index)])
    return "/".join([path.replace("/relu", f"/{_numbered('batch_norm_relu', index)}"), _numbered("sync_batch_normalization", index)])


def shapes(layers, head=(), classes=0, tf2=False, on=0):
    """Variable names and shapes.

    Args:
      layers: what `encoder_layers` gives.
      head: widths of the projection head's layers.
      classes: of the classifier, 0 for none.
      tf2: names of a TF2 SavedModel instead of a TF1 checkpoint.
      on: the head layer that the classifier sits on.
    """
    found, counts = {}, {"conv": 0, "norm": 0}
    for path, kind, shape in layers:
        name = (_tf2_encoder if tf2 else _tf1_encoder)(kind, counts[kind], path)
        found |= {f"{name}/kernel": shape} if kind == "conv" else {f"{name}/{part}": (shape,) for part in NORM}
        counts[kind] += 1
    widths = [layers[-1][2], *head]
    for j, (inputs, outputs) in enumerate(zip(widths, head)):
        k = counts["norm"] + j
        scope = f"projection_head/nl_{j}" if tf2 else f"head_contrastive/nl_{j}"
        norm = f"batch_norm_relu_{k}/sync_batch_normalization_{k}" if tf2 else "batch_normalization"
        found[f"{scope}/{_numbered('dense', j) if tf2 else 'dense'}/kernel"] = (inputs, outputs)
        found |= {f"{scope}/{norm}/{part}": (outputs,) for part in NORM if part != "beta" or j < len(head) - 1}
    if classes:
        scope = f"head_supervised/linear_layer/{_numbered('dense', len(head)) if tf2 else 'dense'}"
        found |= {f"{scope}/kernel": (widths[on], classes), f"{scope}/bias": (classes,)}
    return found


def values(named, seed=0):
    """Random weights under which activations keep their size; statistics and scales are far from 0 and 1, and signs are mixed."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, shape in named.items():
        if len(shape) > 1:
            drawn[name] = rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[:-1]) ** -0.5)
        else:
            low = 0.5 if name.endswith(("gamma", "moving_variance")) else -0.5
            drawn[name] = rng.uniform(low, low + 1, shape).astype(np.float32)
    return drawn


def write_checkpoint(folder, named):
    """A TF1 checkpoint: `checkpoint`, `model.ckpt-7.index`, `.meta` and `.data-…`, written by TF1's own Saver."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saver = tf.compat.v1.train.Saver({name: tf.compat.v1.Variable(value, name=name) for name, value in named.items()})
        session.run(tf.compat.v1.global_variables_initializer())
        return saver.save(session, str(folder / "model.ckpt"), global_step=7)


class Released(tf.Module):
    """What a released TF2 SavedModel looks like from outside: lists of variables, and a call that names its endpoints."""

    def __init__(self, named, pretrained):
        super().__init__()
        self.pretrained = pretrained
        still = ("moving_mean", "moving_variance")
        made = {name: tf.Variable(value, trainable=not name.endswith(still), name=name) for name, value in named.items()}
        self.trainable_variables_list = [v for v in made.values() if v.trainable]
        self.model = tf.__internal__.tracking.AutoTrackable()
        for attribute, prefix in (("resnet_model", "resnet/"), ("_projection_head", "projection_head/")):
            part = tf.__internal__.tracking.AutoTrackable()
            part.variables = [v for name, v in made.items() if name.startswith(prefix)]
            setattr(self.model, attribute, part)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([], tf.bool)])
    def __call__(self, images, trainable):
        names = ["final_avg_pool", "logits_sup"] + (["proj_head_input", "proj_head_output"] if self.pretrained else [])
        return {name: tf.reduce_mean(images, [1, 2]) for name in names}


def write_saved_model(folder, named, pretrained=True):
    """A TF2 SavedModel with these variables."""
    tf.saved_model.save(Released(named, pretrained), str(folder))
    return folder
