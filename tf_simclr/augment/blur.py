"""Gaussian blur as two banded matrices per image (SimCLR, appendix A: kernel of a tenth of the side, σ uniform in 0.1–2)."""

import tensorflow as tf

DRAWS = 2
_SIGMA = (0.1, 2.0)


def sample_sigma(draws, probability):
    """σ in pixels, float32 [B]; 0 where there is no blur. Draws are float32 [B, DRAWS] in [0, 1)."""
    sigma = _SIGMA[0] + (_SIGMA[1] - _SIGMA[0]) * draws[:, 0]
    return tf.where(draws[:, 1] < probability, sigma, 0.0)


def blur(images, sigma):
    """Blurs every image with its own σ.

    At the border the kernel is cut and normalised again, so that a flat image stays flat (zero padding would darken it).

    Args:
      images: float32 [B, S, S, C].
      sigma: float32 [B], in pixels; 0 leaves the image as it is.

    Returns:
      float32 [B, S, S, C].
    """
    size, channels = images.shape[1], images.shape[3]
    pixel = tf.range(size, dtype=tf.float32)
    weights = kernel(sigma[:, None, None], pixel, pixel, size)
    rows = tf.matmul(weights, tf.reshape(images, [-1, size, size * channels]))
    return tf.einsum("bjw,biwc->bijc", weights, tf.reshape(rows, [-1, size, size, channels]))


def radius(size):
    """How many pixels the kernel reaches to each side, in an image of that side."""
    return max(1, size // 20)


def kernel(sigma, to, of, size):
    """The weights of pixels in blurred ones.

    Args:
      sigma: float32 that broadcasts against the result, in pixels; 0 for no blur.
      to, of: float32 [..., M] and [..., P], places of blurred pixels and of pixels in a row; what is not in the image does not count.
      size: pixels of the row.

    Returns:
      float32 [..., M, P]; rows sum to 1.
    """
    distance, of = tf.abs(to[..., None] - of[..., None, :]), of[..., None, :]
    counts = (distance <= radius(size)) & (of >= 0.0) & (of < size)
    weights = tf.exp(-0.5 * tf.square(distance) / tf.square(tf.maximum(sigma, 1e-3))) * tf.cast(counts, tf.float32)
    return weights * (1.0 / tf.reduce_sum(weights, axis=-1, keepdims=True))
