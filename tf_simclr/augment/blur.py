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
    radius = max(1, size // 20)
    pixel = tf.range(size, dtype=tf.float32)
    distance = tf.abs(pixel[:, None] - pixel[None, :])
    exponent = -0.5 * tf.square(distance)[None] / tf.square(tf.maximum(sigma, 1e-3))[:, None, None]
    kernel = tf.exp(exponent) * tf.cast(distance <= radius, tf.float32)[None]
    kernel /= tf.reduce_sum(kernel, axis=2, keepdims=True)
    rows = tf.matmul(kernel, tf.reshape(images, [-1, size, size * channels]))
    return tf.einsum("bjw,biwc->bijc", kernel, tf.reshape(rows, [-1, size, size, channels]))
