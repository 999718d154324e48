"""The slow, obvious versions that the tests compare with: loops in float64, one plain operation after the other."""

import numpy as np
import tensorflow as tf


def nt_xent(first, second, temperature, further=lambda image: [], keys=None):
    """Algorithm 1 of the SimCLR paper, pair by pair; float64 [N, D] twice to a float64 scalar that can be differentiated.

    `further` gives what else the views of an image are told from, a list of float64 [D]; `keys` what they are compared with, instead of
    one another.
    """

    def interleaved(first, second):
        return [z_k for pair in zip(tf.unstack(first), tf.unstack(second)) for z_k in pair]

    z = interleaved(first, second)
    seen = z if keys is None else interleaved(*keys)

    def similarity(a, b):
        return tf.reduce_sum(a * b) / (tf.norm(a) * tf.norm(b))

    def loss(i, j):
        others = [seen[k] for k in range(len(z)) if k != i] + further(i // 2)
        others = [tf.exp(similarity(z[i], other) / temperature) for other in others]
        return -tf.math.log(tf.exp(similarity(z[i], seen[j]) / temperature) / tf.add_n(others))

    pairs = range(0, len(z), 2)
    return tf.add_n([loss(k, k + 1) + loss(k + 1, k) for k in pairs]) / len(z)


def softmax(logits, temperature=1.0):
    powers = [np.exp(float(x) / temperature) for x in logits]
    return [p / sum(powers) for p in powers]


def distillation(teacher_logits, student_logits, temperature):
    """Equation 2, averaged over the examples."""
    total = 0.0
    for taught, learnt in zip(teacher_logits, student_logits):
        for p, q in zip(softmax(taught, temperature), softmax(learnt, temperature)):
            total -= p * np.log(q)
    return total / len(teacher_logits)


def cross_entropy(labels, logits):
    return sum(-np.log(softmax(row)[label]) for label, row in zip(labels, logits)) / len(labels)


def lars(weights, gradients, *, rates, momentum, weight_decay, trust, undecayed, unadapted, nesterov):
    """Steps of LARS; `gradients` holds a list of arrays per step, `undecayed` and `unadapted` positions of variables."""
    weights = [w.astype(np.float64) for w in weights]
    buffers = [np.zeros_like(w) for w in weights]
    for rate, step in zip(rates, gradients):
        for i, g in enumerate(step):
            local = rate
            if i not in undecayed:
                g = g + weight_decay * weights[i]
            if i not in undecayed and i not in unadapted:
                w_norm, g_norm = np.sqrt(np.sum(weights[i] ** 2)), np.sqrt(np.sum(g**2))
                if w_norm > 0 and g_norm > 0:
                    local = rate * trust * w_norm / g_norm
            buffers[i] = momentum * buffers[i] + local * g
            weights[i] = weights[i] - (momentum * buffers[i] + local * g if nesterov else buffers[i])
    return weights


def crop_box(draws, height, width, min_area, attempts, max_aspect=4 / 3):
    """The first attempt that fits, else the whole image: top, left, height, width."""
    h, w = height, width
    for area, aspect in zip(draws[:attempts], draws[attempts : 2 * attempts]):
        pixels = (min_area + (1 - min_area) * area) * height * width
        ratio = 1 / max_aspect + (max_aspect - 1 / max_aspect) * aspect
        if np.sqrt(pixels * ratio) <= width and np.sqrt(pixels / ratio) <= height:
            h, w = np.sqrt(pixels / ratio), np.sqrt(pixels * ratio)
            break
    return draws[-3] * (height - h), draws[-2] * (width - w), h, w


def blur(image, sigma, radius):
    """A Gaussian whose kernel is cut at the radius and at the border, and normalised over what is left; [S, S, C]."""
    size = image.shape[0]
    out = np.zeros_like(image, dtype=np.float64)
    for y in range(size):
        for x in range(size):
            total = 0.0
            for v in range(max(0, y - radius), min(size, y + radius + 1)):
                for u in range(max(0, x - radius), min(size, x + radius + 1)):
                    weight = np.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2))
                    out[y, x] += weight * image[v, u]
                    total += weight
            out[y, x] /= total
    return out


class PlainResNet:
    """A ResNet in inference mode that takes its weights one by one, in the order in which the released models made theirs.

    Args:
      kernels: convolution kernels in that order.
      norms: (gamma, beta, mean, variance) in that order.
    """

    def __init__(self, kernels, norms):
        self._kernels, self._norms = iter(kernels), iter(norms)

    def _conv(self, x, stride=1):
        kernel = next(self._kernels)
        side = (kernel.shape[0] - 1) // 2  # symmetric, with stride or without
        return tf.nn.conv2d(x, kernel, stride, [[0, 0], [side, side], [side, side], [0, 0]])

    def _norm(self, x, relu=True):
        gamma, beta, mean, variance = next(self._norms)
        x = (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta
        return tf.maximum(x, 0.0) if relu else x

    def _selective(self, x, stride):
        a, b = tf.split(self._norm(self._conv(x, stride)), 2, axis=3)
        pooled = tf.reduce_mean(a + b, axis=[1, 2], keepdims=True)
        mixed = self._conv(self._norm(self._conv(pooled)))
        for_a, for_b = (tf.exp(part) for part in tf.split(mixed, 2, axis=3))
        return (a * for_a + b * for_b) / (for_a + for_b)

    def _shortcut(self, x, stride, sk):
        if sk:
            # ResNet-D. Averages over the pixels that exist, except for the zeros on the right and below of a strided one.
            if stride > 1:
                x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
                rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
                x = x[:, :rows, :columns]
                x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
            else:
                x = tf.nn.avg_pool2d(x, 2, 1, "SAME")
            stride = 1
        return self._norm(self._conv(x, stride), relu=False)

    def __call__(self, x, counts, bottleneck, sk, stem):
        if stem == "cifar":
            x = self._norm(self._conv(x))
        elif sk:
            for stride in (2, 1, 1):
                x = self._norm(self._conv(x, stride))
        else:
            x = self._norm(self._conv(x, 2))
        if stem == "imagenet":
            x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        for group, count in enumerate(counts):
            for block in range(count):
                stride = 2 if group > 0 and block == 0 else 1
                residual = self._shortcut(x, stride, sk) if block == 0 else x
                if bottleneck:
                    x = self._norm(self._conv(x))
                x = self._selective(x, stride) if sk else self._norm(self._conv(x, stride))
                x = tf.maximum(self._norm(self._conv(x), relu=False) + residual, 0.0)
        assert next(self._kernels, None) is None and next(self._norms, None) is None, "weights left over"
        return tf.reduce_mean(x, axis=[1, 2])
