"""SimCLR's colour distortion as one affine map of the channels per view.

Brightness, contrast, saturation and hue, in any order, and greyscale compose to `y = M x + t`, because the mean that contrast needs
passes through affine maps too. Two things differ from applying `tf.image` operations one after the other: values are clipped to
[0, 1] once at the end, and saturation and hue act in YIQ (as in `tfa.image.adjust_hsv_in_yiq`) instead of HSV.
"""

import numpy as np
import tensorflow as tf

DRAWS = 10
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)
_LUMA = np.array([0.2989, 0.5870, 0.1140])  # the weights of tf.image.rgb_to_grayscale


def _diagonal(values, channels):
    return values[:, None, None] * tf.eye(channels)[None]


def _chroma_map(scale, angle):
    """[B, 3, 3]: multiplies the chroma by `scale` and turns it by `angle` (radians) in YIQ."""
    # Back to RGB times what stays, what is scaled and what is turned, times to YIQ; one product with constants for all three.
    parts = [_RGB @ part @ _YIQ for part in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]))]
    shares = tf.stack([tf.ones_like(scale), scale * tf.cos(angle), scale * tf.sin(angle)], axis=1)
    return tf.reshape(shares @ tf.constant(np.reshape(parts, [3, 9]), tf.float32), [-1, 3, 3])


def sample_factors(draws, policy):
    """Turns uniform draws into the parameters of the distortion.

    Args:
      draws: float32 [B, DRAWS] in [0, 1).
      policy: has brightness, contrast, saturation, hue (strengths), jitter and grey (probabilities); a `FitConfig`.

    Returns:
      dict of brightness, contrast, saturation (factors, float32 [B], ≥ 0), hue (turns, float32 [B]), order (int32 [B, 4], a
      permutation of the four operations), grey (bool [B]). Without jitter the factors are 1 and the hue is 0.
    """
    jitter = draws[:, 4] < policy.jitter
    strengths = {"brightness": policy.brightness, "contrast": policy.contrast, "saturation": policy.saturation}
    factors = {}
    for i, (name, strength) in enumerate(strengths.items()):
        low = max(0.0, 1.0 - strength)
        factors[name] = tf.where(jitter, low + (1.0 + strength - low) * draws[:, i], 1.0)
    factors["hue"] = tf.where(jitter, (2.0 * draws[:, 3] - 1.0) * policy.hue, 0.0)
    factors["order"] = tf.argsort(draws[:, 5:9], axis=1)
    factors["grey"] = draws[:, 9] < policy.grey
    return factors


def compose(factors, channels):
    """Composes the operations, in each image's own order, into one affine map.

    Args:
      factors: see `sample_factors`.
      channels: C, 1 or 3; a grey image has no saturation, hue or greyscale.

    Returns:
      M and P, float32 [B, C, C] each, with y = M x + P m for the mean m of every channel before the distortion.
    """
    eye = tf.eye(channels, batch_shape=[tf.shape(factors["grey"])[0]])
    one, zero = tf.ones_like(factors["hue"]), tf.zeros_like(factors["hue"])
    colour = channels == 3
    linear = tf.stack(
        [
            _diagonal(factors["brightness"], channels),
            _diagonal(factors["contrast"], channels),
            _chroma_map(factors["saturation"], zero) if colour else eye,
            _chroma_map(one, 2.0 * np.pi * factors["hue"]) if colour else eye,
        ],
        axis=1,
    )  # [B, 4, C, C]
    both = tf.concat([eye, tf.zeros_like(eye)], axis=2)  # M and P side by side, so that one product changes both
    for step in range(4):
        operation = factors["order"][:, step]
        # Contrast pulls towards the mean of the image as the operations before it left it.
        pull = tf.where(operation == 1, 1.0 - factors["contrast"], 0.0)[:, None, None] * (both[..., :channels] + both[..., channels:])
        both = tf.gather(linear, operation, batch_dims=1) @ both + tf.concat([tf.zeros_like(pull), pull], axis=2)
    if colour:
        luma = tf.constant(np.tile(_LUMA, (3, 1)), tf.float32)
        both = tf.where(factors["grey"][:, None, None], luma @ both, both)
    return both[..., :channels], both[..., channels:]


def distort(images, factors):
    """Applies the distortion and clips to [0, 1].

    Args:
      images: float32 [B, H, W, C] in [0, 1], C 1 or 3.
      factors: see `sample_factors`.

    Returns:
      float32 [B, H, W, C] in [0, 1].
    """
    return apply(images, *compose(factors, images.shape[-1]))


def apply(images, matrix, of_mean):
    """`distort` by what `compose` returns, float32 [B, C, C] each."""
    channels = images.shape[-1]
    offset = tf.linalg.matvec(of_mean, tf.reduce_mean(images, axis=[1, 2]))
    if channels == 1:
        out = images * matrix[:, None] + offset[:, None, None, :]
    else:
        flat = tf.reshape(images, [tf.shape(images)[0], -1, channels])
        out = tf.reshape(tf.matmul(flat, matrix, transpose_b=True), tf.shape(images)) + offset[:, None, None, :]
    return tf.clip_by_value(out, 0.0, 1.0)
