"""The signatures of an exported model: any image in, named outputs out, and every bound inside the graph."""

import tensorflow as tf

from tf_simclr.data import decode
from tf_simclr.export import reading
from tf_simclr.export.reading import OK
from tf_simclr.export.reusable import layer

NOT_FINITE = "pixels must be finite, got NaN or infinity"
OUT_OF_RANGE = "pixels must be in [0, 1], got others; divide bytes by 255"
_SLACK = 0.01  # what resizing may leave beside [0, 1]


def signatures(module, spec, class_names, limits):
    """The functions that a SavedModel serves, around the `infer` of a `Reusable`.

    serving_default(images), float32 [n, H, W, 1 or 3] in [0, 1], any H and W: the central square is resized, channels are converted.
    serve_encoded(encoded), string [n], contents of JPEG, PNG, GIF or BMP files of any sizes: decoded as in training.
    embed(images), as serving_default: the features instead of the classes.
    network(images), float32 [n, S, S, C] of the network's own size: no checks and no text, for converters to other formats.

    Outputs, for n images:
      probabilities, logits: float32 [n, K]; class_index: int64 [n]; class_name: string [n]. Without a classifier, and of `embed`:
        features: float32 [n, D], h; features_1, features_2, …: the outputs of the head's layers, as the selector counts them.
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
    names = list(class_names)

    def answer(squares, status, features=not names):
        # TensorFlow's fused convolutions refuse an empty batch: it passes with one black image, and comes back without.
        count = tf.shape(squares)[0]
        filled = tf.pad(squares, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = {name: x[:count] for name, x in module.infer(filled).items()}
        good = status == OK
        numbers = {name: tf.where(good[:, None], x, 0.0) for name, x in (_features if features else _scores)(outputs).items()}
        if features:
            return {**numbers, "status": status}
        index = tf.where(good, tf.argmax(numbers["logits"], axis=1), -1)
        return {
            **numbers,
            "class_index": index,
            "class_name": tf.gather(tf.constant([*names, ""]), index % (len(names) + 1)),
            "status": status,
        }

    def squares_of(images):
        shape = tf.shape(images)
        limit = limits.max_batch
        checks = [
            tf.debugging.Assert(shape[0] <= limit, [f"a batch must have at most {limit} images, got", shape[0]]),
            tf.debugging.Assert(
                (tf.reduce_min(shape[1:3]) > 0) & (tf.cast(shape[1], tf.int64) * tf.cast(shape[2], tf.int64) <= limits.max_pixels),
                [f"images must have 1 to {limits.max_pixels} pixels, got height and width", shape[1:3]],
            ),
            tf.debugging.Assert((shape[3] == 1) | (shape[3] == 3), ["images must have 1 or 3 channels, got", shape[3]]),
        ]
        with tf.control_dependencies(checks):
            images = tf.identity(images)
        finite = tf.reduce_all(tf.math.is_finite(images), axis=[1, 2, 3])
        inside = tf.reduce_all((images >= -_SLACK) & (images <= 1 + _SLACK), axis=[1, 2, 3])
        status = tf.where(finite, tf.where(inside, OK, OUT_OF_RANGE), NOT_FINITE)
        usable = tf.where((status == OK)[:, None, None, None], images, 0.0)
        usable, size = decode.convert_channels(usable, spec.channels), spec.image_size
        fits = (shape[1] == size) & (shape[2] == size)  # resizing would change no value, but take its time
        squares = tf.cond(fits, lambda: usable, lambda: decode.resize_batch(usable, size))
        return tf.ensure_shape(squares, [None, size, size, spec.channels]), status

    images = tf.TensorSpec([None, None, None, None], tf.float32, name="images")
    square = tf.TensorSpec([None, spec.image_size, spec.image_size, spec.channels], tf.float32, name="images")
    encoded = tf.TensorSpec([None], tf.string, name="encoded")

    def function(body, argument):
        return tf.function(tf.autograph.experimental.do_not_convert(body), input_signature=[argument])

    def serve_encoded(encoded):
        count = tf.shape(encoded)[0]
        check = tf.debugging.Assert(count <= limits.max_batch, [f"a batch must have at most {limits.max_batch} images, got", count])
        with tf.control_dependencies([check]):
            return answer(*reading.read_all(tf.identity(encoded), spec, limits))

    def network(images):
        return served_of(module.infer(images))

    def embed(images):
        return answer(*checked(images), features=True)

    checked, features = function(squares_of, images), function(embed, images)
    return {
        "serving_default": function(lambda images: answer(*checked(images)), images) if names else features,
        "serve_encoded": function(serve_encoded, encoded),
        "embed": features,
        "network": function(network, square),
    }


def served_of(outputs):
    """What the signature `network` gives, of what `outputs_of` does: the features of every layer and, with a classifier, the scores."""
    return {**_features(outputs), **(_scores(outputs) if "logits" in outputs else {})}


def _features(outputs):
    return {name: x for name, x in outputs.items() if name.partition("_")[0] == layer(0)}


def _scores(outputs):
    return {"logits": outputs["logits"], "probabilities": tf.nn.softmax(outputs["logits"])}
