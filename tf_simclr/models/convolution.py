"""The gradient of a convolution's kernel as a convolution of its own, where a CPU computes that faster."""

import contextlib
import contextvars

import tensorflow as tf

LARGEST = 8  # pixels a side of the outputs for which it is faster
_SUITS = contextvars.ContextVar("gradients of kernels may be convolutions", default=False)


@contextlib.contextmanager
def kernel_gradients(jit):
    """Within it, gradients of kernels are computed as suits the device: see `convolve`.

    Args:
      jit: whether XLA compiles them, which has ways of its own.
    """
    before = _SUITS.set(not jit and all(device.device_type == "CPU" for device in tf.config.list_logical_devices()))
    try:
        yield
    finally:
        _SUITS.reset(before)


def suits(dtype, size, output):
    """Whether `convolve` is the faster one for a kernel of `size` pixels a side and as large an output, within `kernel_gradients`."""
    return _SUITS.get() and dtype == tf.bfloat16 and size > 1 and output is not None and output <= LARGEST


def convolve(x, kernel, stride):
    """`tf.nn.conv2d`, SAME without a stride and VALID with one, whose gradient of the kernel is computed as a convolution.

    In bfloat16, for a kernel of many weights and a small output, TensorFlow's (oneDNN's) own takes two to five times as long as the
    convolution forward. But it is one as well: with the channels of x as images, whose channels are the batch, and the upstream gradient as
    kernel, dilated by the stride (docs/performance.md).

    Args:
      x: float [B, H, W, C].
      kernel: of x's dtype [K, K, C, F], K odd where there is no stride.
      stride: of both sides, int.

    Returns:
      Of x's dtype [B, H', W', F].
    """
    size, strides, padding = kernel.shape[0], [1, stride, stride, 1], "SAME" if stride == 1 else "VALID"
    around = [size // 2] * 2 if stride == 1 else [0, 0]

    @tf.custom_gradient
    def run(x, kernel):
        def gradient(upstream):
            of_x = tf.compat.v1.nn.conv2d_backprop_input(tf.shape(x), kernel, upstream, strides, padding)
            channels = tf.pad(tf.transpose(x, [3, 1, 2, 0]), [[0, 0], around, around, [0, 0]])
            of_kernel = tf.nn.conv2d(channels, tf.transpose(upstream, [1, 2, 0, 3]), 1, "VALID", dilations=stride)
            return of_x, tf.transpose(of_kernel[:, :size, :size], [1, 2, 0, 3])  # without the pixels that no stride reaches

        return tf.nn.conv2d(x, kernel, strides, padding), gradient

    return run(x, kernel)
