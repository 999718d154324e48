"""Rounds the weights of a float16 TFLite file by what they do to images.

To the nearest 16-bit number, one by one, the errors of a layer add up where its inputs share a sign, as after ReLU they do, and every layer
passes its own on. Here the layers are rounded in the order in which they run. The weights of each are first those that turn its inputs, as
the rounded layers before it make them, into what the float32 file makes there (least squares); then they are rounded input by input, the
error of each spread over the weights not rounded yet, which is GPTQ's second step (Frantar et al., arXiv:2210.17323, section 3).
"""

import collections
import os

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

# Images that are run twice for every layer: as many as have this many pixels, and no fewer than these.
PIXELS, FEWEST_IMAGES = 50_000, 16
# Of every image, for one layer: where its patches are cut out.
PATCHES_PER_IMAGE = 64
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
    exact, rounded = _File(float32), _File(float16)
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


class _File:
    """A TFLite file whose constants can be written in place."""

    def __init__(self, content):
        self.content = bytearray(content)
        self.model = schema.Model.GetRootAs(self.content, 0)
        self.graph = self.model.Subgraphs(0)
        self.operations = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]
        self._widened = {int(op.Outputs(0)): op.Inputs(0) for op in self.operations if self.code(op) == schema.BuiltinOperator.DEQUANTIZE}
        # A constant that two operations read is not one layer's to change.
        reading = [op for op in self.operations if int(op.Outputs(0)) not in self._widened]
        self._readers = collections.Counter(self._buffer(tensor) for op in reading for tensor in op.InputsAsNumpy() if tensor >= 0)

    def code(self, op):
        return self.model.OperatorCodes(op.OpcodeIndex()).BuiltinCode()

    def layers(self):
        """The `_Layer`s that are dense in their inputs' channels, in the order in which they run."""
        products = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
        layers = [_Layer(self, op) for op in self.operations if self.code(op) in products]
        return [layer for layer in layers if layer.is_dense]

    def constant(self, tensor):
        """A view of a constant's values, float16 or float32; None where the tensor is none."""
        tensor = self.graph.Tensors(self._stored(tensor))
        values = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(values, int):
            return None
        dtype = {schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT32: np.float32}[tensor.Type()]
        return values.view(dtype).reshape(tensor.ShapeAsNumpy())

    def owned(self, tensor):
        """Whether a tensor is a constant of one operation alone."""
        return tensor >= 0 and self._readers[self._buffer(tensor)] == 1 and self.constant(tensor) is not None

    def values(self, tensor, images):
        """Yields what a tensor holds for one image after the other."""
        # Without delegates, which keep what is between their operations to themselves.
        reference = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = tf.lite.Interpreter(
            model_content=bytes(self.content),
            experimental_op_resolver_type=reference,
            experimental_preserve_all_tensors=True,
            num_threads=os.cpu_count(),
        )
        interpreter.allocate_tensors()
        (entry,) = interpreter.get_input_details()
        for image in images:
            interpreter.set_tensor(entry["index"], image[None])
            interpreter.invoke()
            yield interpreter.get_tensor(tensor)

    def _stored(self, tensor):
        """Where the constant behind a tensor is: 16 bits are widened by an operation of their own."""
        return self._widened.get(int(tensor), tensor)

    def _buffer(self, tensor):
        return self.graph.Tensors(self._stored(tensor)).Buffer()


class _Layer:
    """A convolution or a matrix product of a `_File`, as the product of its inputs' patches, [P, I], and its weights, [I, O].

    With a bias there is one input more, the first, which is always 1.
    """

    def __init__(self, file, op):
        self.file, self.op = file, op
        self.kernel = file.constant(op.Inputs(1))
        self.bias = file.constant(op.Inputs(2)) if op.InputsLength() > 2 and op.Inputs(2) >= 0 else None
        self.owns_kernel = file.owned(op.Inputs(1))
        self.owns_bias = self.bias is not None and file.owned(op.Inputs(2))

    @property
    def is_dense(self):
        channels = self.file.graph.Tensors(self.op.Inputs(0)).ShapeAsNumpy()[-1]
        return self.kernel is not None and channels == self.kernel.shape[-1]

    @property
    def width(self):
        """How many inputs one output has."""
        return int(np.prod(self.kernel.shape[1:]))

    def weights(self, with_bias):
        """float32 [(1 +) I, O]."""
        kernel = self.kernel.reshape(len(self.kernel), -1).T.astype(np.float32)
        return np.concatenate([self.bias[None], kernel]) if with_bias else kernel

    def set_weights(self, weights):
        if self.owns_bias:
            self.bias[:], weights = weights[0], weights[1:]
        self.kernel[:] = weights.T.reshape(self.kernel.shape)

    def inputs(self, images, with_bias):
        """float32 [P, (1 +) I], the same places of the images whatever the file."""
        draws, found = np.random.default_rng(0), []
        for values in self.file.values(self.op.Inputs(0), images):
            patches = self._patches(values)
            found.append(patches[np.sort(draws.permutation(len(patches))[:PATCHES_PER_IMAGE])])
        found = np.concatenate(found)
        return np.concatenate([np.ones([len(found), 1], np.float32), found], axis=1) if with_bias else found

    def _patches(self, values):
        if self.kernel.ndim == 2:
            return values.reshape(-1, values.shape[-1])
        options, table = schema.Conv2DOptions(), self.op.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        patches = tf.image.extract_patches(
            values,
            sizes=[1, *self.kernel.shape[1:3], 1],
            strides=[1, options.StrideH(), options.StrideW(), 1],
            rates=[1, options.DilationHFactor(), options.DilationWFactor(), 1],
            padding="VALID" if options.Padding() == schema.Padding.VALID else "SAME",
        ).numpy()
        return patches.reshape(-1, patches.shape[-1])
