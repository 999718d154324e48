"""Rounds the weights of a float16 TFLite file by what they do to images.

To the nearest 16-bit number, one by one, the errors of a layer add up where its inputs share a sign, as after ReLU they do, and every layer
passes its own on. Here the layers are rounded in the order in which they run. The weights of each are first those that turn its inputs, as
the rounded layers before it make them, into what the float32 file makes there (least squares); then they are rounded input by input, the
error of each spread over the weights not rounded yet, which is GPTQ's second step (Frantar et al., arXiv:2210.17323, section 3).
"""

import numpy as np

from tf_simclr.export.tflite_layers import TFLiteFile

# Images that are run twice for every layer: as many as have this many pixels, and no fewer than these.
PIXELS, FEWEST_IMAGES = 50_000, 16
# Inputs of the widest layer that is rounded like this: 3 × 3 of 512 channels. The time grows with their cube, and is a minute here.
WIDEST = 4608
# Of the mean square of a layer's inputs: how far weights may go for what few patches show.
DAMPING = 0.01
# Layers of so few inputs, the first ones, have little to make errors good with: so many more orders of rounding are tried.
NARROW, ORDERS = 64, 50
# Inputs that are rounded before the others hear of it.
BLOCK = 128


def round_weights(float16, float32, images):
    """Chooses the 16-bit weights of convolutions and matrix products anew; depthwise, grouped and very wide ones keep theirs.

    Args:
      float16: bytes of a TFLite file with weights of 16 bits and one signature, of one image.
      float32: bytes of the file that the same network gives with weights of 32 bits.
      images: float32 [N, S, S, C] in [0, 1], N ≥ 1, like those that the network will see; the first of them are used.

    Returns:
      bytes of the float16 file with other weights in the same places.
    """
    images = images[: max(FEWEST_IMAGES, PIXELS // np.prod(images.shape[1:3]))]
    exact, rounded = TFLiteFile(float32), TFLiteFile(float16)
    for layer, goal in zip(rounded.layers(), exact.layers(), strict=True):
        if layer.owns_kernel and layer.width <= WIDEST:
            weights = goal.weights(layer.owns_bias)
            seen, wanted = (side.inputs(images, layer.owns_bias) for side in (layer, goal))
            layer.set_weights(compensated(weights, seen.T @ seen, seen.T @ ((wanted - seen) @ weights)))
    return bytes(rounded.content)


def compensated(weights, gram, residual):
    """Weights of 16 bits whose products with given inputs come close to those wanted.

    Args:
      weights: [I, O] of 32 bits.
      gram: XᵀX, [I, I], of inputs X [P, I]; any rank.
      residual: [I, O], Xᵀ(Y - X weights) of wanted products Y [P, O].

    Returns:
      float16 [I, O].
    """
    gram = np.array(gram, np.float64)
    gram[np.diag_indices_from(gram)] += DAMPING * np.trace(gram) / len(gram) + 1e-12
    wanted = weights + np.linalg.solve(gram, residual)
    # The largest first: they are rounded most coarsely, and the finer ones are left to answer.
    orders = [np.argsort(-np.abs(wanted).mean(axis=1), kind="stable")]
    if len(wanted) <= NARROW:
        orders += list(np.random.default_rng(0).permuted(np.tile(np.arange(len(wanted)), [ORDERS, 1]), axis=1))
    chosen, least = np.empty(wanted.shape, np.float16), np.full(wanted.shape[1], np.inf)
    for order in orders:
        found = _rounded_in_order(wanted, gram, order)
        error = wanted - found
        squares = np.sum(error * (gram @ error), axis=0)
        better = squares < least
        chosen[:, better], least[better] = found[:, better], squares[better]
    return chosen


def _rounded_in_order(wanted, gram, order):
    """Rounds input after input, each error spread over those to come: float16 [I, O]."""
    # Row i: how the best weights after i answer to an error of weight i, those before being fixed.
    answer = np.linalg.cholesky(np.linalg.inv(gram[np.ix_(order, order)])).T
    answer /= np.diag(answer)[:, None]
    left, found, largest = wanted[order], np.empty(wanted.shape, np.float16), float(np.finfo(np.float16).max)
    for start in range(0, len(left), BLOCK):
        block = slice(start, start + BLOCK)
        errors = np.empty_like(left[block])
        for i, error in enumerate(errors, start):
            found[order[i]] = np.clip(left[i], -largest, largest)
            error[:] = left[i] - found[order[i]]
            left[i + 1 : start + BLOCK] -= np.outer(answer[i, i + 1 : start + BLOCK], error)
        left[start + BLOCK :] -= answer[block, start + BLOCK :].T @ errors
    return found
