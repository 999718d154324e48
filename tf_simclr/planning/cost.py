"""What a network costs for one image, counted in its graph: no weight is allocated and nothing is computed."""

import dataclasses

import tensorflow as tf

from tf_simclr.models.network import Network

_KEPT = ("Conv2D", "DepthwiseConv2dNative", "FusedBatchNormV3", "Relu", "AddV2", "Mul", "MatMul", "AvgPool", "MaxPool")
# Beside the outputs of the layers there are gradients in flight and copies in other layouts. Seen: 2.8 GB for ResNet-18 at batch 128 and
# 32 px, whose layers put out 2.2; 6.4 GB for ResNet-50 with selective kernels at batch 16 and 224 px, whose layers put out as much.
_BESIDE = 1.3


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
      parameters: numbers in it, BatchNorm's moving statistics included.
      trainable: those that an optimizer changes.
      flops: of one image forward: two for every multiply-add of convolutions and matrix products; the rest is left out.
      outputs: numbers that its layers put out for one image, which a training step keeps.
    """

    parameters: int
    trainable: int
    flops: int
    outputs: int

    def step_bytes(self, width=4):
        """Estimate of the bytes that a training step keeps for one image as one view; `width`: bytes of a number."""
        return int(width * self.outputs * _BESIDE)


@tf.autograph.experimental.do_not_convert
def network_cost(spec, head_layers, num_classes=0):
    """The `Cost` of a `Network`.

    Args:
      spec: a resolved `ModelConfig`.
      head_layers: projection head layers kept.
      num_classes: classes; 0 for no classifier.
    """
    batch = 7  # which no layer has as its width: what begins with it belongs to the images
    with tf.Graph().as_default() as graph:
        network = Network(spec, head_layers, num_classes)
        network(tf.zeros([batch, spec.image_size, spec.image_size, spec.channels]), training=True)
        operations = graph.get_operations()
        shapes = [op.outputs[0].shape for op in operations if op.type in _KEPT]
        return Cost(
            parameters=_size(network.variables),
            trainable=_size(network.trainable_variables),
            flops=sum(_flops(op) for op in operations) // batch,
            outputs=sum(shape.num_elements() // batch for shape in shapes if shape.rank and shape[0] == batch),
        )


def _size(variables):
    return sum(v.shape.num_elements() for v in variables)


def _flops(op):
    """Floating-point operations of a convolution or a matrix product; 0 of anything else."""
    if op.type == "MatMul":
        return 2 * op.outputs[0].shape.num_elements() * op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1]
    if op.type == "Conv2D":
        return 2 * op.outputs[0].shape.num_elements() * op.inputs[1].shape[:3].num_elements()
    if op.type == "DepthwiseConv2dNative":
        return 2 * op.outputs[0].shape.num_elements() * op.inputs[1].shape[:2].num_elements()
    return 0
