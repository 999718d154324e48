"""The signatures of an exported model: any image in, named outputs out, and every bound inside the graph."""

import functools

import tensorflow as tf

from tf_simclr.export import reading
from tf_simclr.export.reading import OK
from tf_simclr.export.reusable import layer


def signatures(module, spec, class_names, limits):
    """The functions that a SavedModel serves, around the `infer` of a `Reusable`.

    serving_default(images), float32 [n, H, W, 1 or 3] in [0, 1], any H and W: the central square is resized, channels are converted.
    serve_encoded(encoded), string [n], contents of JPEG, PNG, GIF or BMP files of any sizes: decoded as in training.
    embed(images), as serving_default: the features instead of the classes.
    network(images), float32 [n, S, S, C] of the network's own size: no checks and no text, for converters to other formats.

    Outputs, for n images:
      probabilities, logits: float32 [n, K]; class_index: int64 [n]; class_name: string [n]. Not of `embed`, nor without a classifier.
      features: float32 [n, D], h.
      features_1, features_2, …: the outputs of the head's layers, as the selector counts them. Not beside classes.
      status: string [n], "ok" or what is wrong with the image, whose other outputs then are 0, class -1 and "". `network` has none.

    A batch that is too large, or whose images are, fails as a whole, with a message.

    Args:
      module: a `Reusable`.
      spec: its resolved `ModelConfig`.
      class_names: K names in label order; empty without a classifier.
      limits: a `reading.Limits`.

    Returns:
      dict of tf.function.
    """
    images = tf.TensorSpec([None, None, None, None], tf.float32, name="images")
    square = tf.TensorSpec([None, spec.image_size, spec.image_size, spec.channels], tf.float32, name="images")
    encoded = tf.TensorSpec([None], tf.string, name="encoded")
    answer = functools.partial(_classify, module, list(class_names)) if class_names else functools.partial(_embed, module)

    def function(body, argument):
        return tf.function(tf.autograph.experimental.do_not_convert(body), input_signature=[argument])

    # A function of its own, so that two signatures share its graph.
    squares_of = function(lambda images: reading.take_pixels(images, spec, limits), images)
    embed = function(lambda images: _embed(module, *squares_of(images)), images)
    return {
        "serving_default": function(lambda images: answer(*squares_of(images)), images) if class_names else embed,
        "serve_encoded": function(lambda encoded: answer(*reading.read_files(encoded, spec, limits)), encoded),
        "embed": embed,
        "network": function(lambda images: served_of(module.infer(images)), square),
    }


def _embed(module, squares, status):
    """Features of squares, float32 [n, S, S, C], and their status; 0 where that is not "ok"."""
    return {**_only_good(_features(_run(module, squares)), status), "status": status}


def _classify(module, names, squares, status):
    """As `_embed`, with scores and classes, and of the features the pooled ones alone, which answers then have to carry."""
    outputs = _run(module, squares)
    good = _only_good({layer(0): outputs[layer(0)], **_scores(outputs)}, status)
    index = tf.where(status == OK, tf.argmax(good["logits"], axis=1), -1)
    class_name = tf.gather(tf.constant([*names, ""]), index % (len(names) + 1))
    return {**good, "class_index": index, "class_name": class_name, "status": status}


def _run(module, squares):
    """What the network gives, also for no image."""
    # TensorFlow's fused convolutions refuse an empty batch: it passes with one black image, and comes back without.
    count = tf.shape(squares)[0]
    filled = tf.pad(squares, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
    return {name: x[:count] for name, x in module.infer(filled).items()}


def _only_good(outputs, status):
    return {name: tf.where((status == OK)[:, None], x, 0.0) for name, x in outputs.items()}


def served_of(outputs):
    """What the signature `network` gives, of what `outputs_of` does: the features of every layer and, with a classifier, the scores."""
    return {**_features(outputs), **(_scores(outputs) if "logits" in outputs else {})}


def _features(outputs):
    return {name: x for name, x in outputs.items() if name.partition("_")[0] == layer(0)}


def _scores(outputs):
    return {"logits": outputs["logits"], "probabilities": tf.nn.softmax(outputs["logits"])}
