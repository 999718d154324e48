"""The layers of a TFLite file that multiply by weights: what they multiply by, what reaches them, and new weights in the same places."""

import collections
import os

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

# Of every image, for one layer: where its patches are cut out.
PATCHES_PER_IMAGE = 64


class TFLiteFile:
    """A TFLite file of one signature, whose constants can be written in place.

    Args:
      content: bytes of the file; `content`, the attribute, is the copy that is written.
    """

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
        """The `Layer`s that are dense in their inputs' channels, in the order in which they run."""
        products = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
        layers = [Layer(self, op) for op in self.operations if self.code(op) in products]
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


class Layer:
    """A convolution or a matrix product of a `TFLiteFile`, as the product of its inputs' patches, [P, I], and its weights, [I, O].

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
