"""What a network costs for one image, counted in its graph: no weight is allocated and nothing is computed."""

import contextlib
import dataclasses

import tensorflow as tf

from tf_simclr.models.network import Network

_KEPT = ("Conv2D", "DepthwiseConv2dNative", "FusedBatchNormV3", "Relu", "AddV2", "Mul", "MatMul", "AvgPool", "MaxPool")
# Beside the outputs of the layers there are gradients in flight and copies in other layouts. Seen: 2.8 GB for ResNet-18 at batch 128 and
# 32 px, whose layers put out 2.2; 6.4 GB for ResNet-50 with selective kernels at batch 16 and 224 px, whose layers put out as much.
_BESIDE = 1.3
_BATCH = 7  # which no layer has as its width: what begins with it belongs to the images


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
    """The `Cost` of a `Network`, from shapes alone: no weight of our ResNets is allocated. Other backbones are built to be counted.

    Args:
      spec: a resolved `ModelConfig`.
      head_layers: projection head layers kept.
      num_classes: classes; 0 for no classifier.
    """
    trace = _trace_backbone if spec.backbone else _trace_resnet
    shape = [_BATCH, spec.image_size, spec.image_size, spec.channels]
    operations, variables = trace(lambda: Network(spec, head_layers, num_classes), shape)
    shapes = [op.outputs[0].shape for op in operations if op.type in _KEPT]
    return Cost(
        parameters=_size(variables),
        trainable=_size(v for v in variables if v.trainable),
        flops=sum(_flops(op) for op in operations) // _BATCH,
        outputs=sum(shape.num_elements() // _BATCH for shape in shapes if shape.rank and shape[0] == _BATCH),
    )


def _trace_backbone(make, shape):
    """(operations, variables) of a network: KerasCV's are no models but in eager mode."""
    network = make().build_variables()
    step = tf.function(lambda images: network(images, training=True)).get_concrete_function(tf.TensorSpec(shape))
    return step.graph.get_operations(), network.variables


def _trace_resnet(make, shape):
    """(operations, variables) of a network in a graph, where variables have shapes and no values.

    A group's blocks are all alike from the second one on: two are traced, which makes a ResNet-152 as quick to count as a ResNet-18.
    """
    with _graph() as graph:
        network = make()
        groups = network.encoder.groups
        left_out = [len(blocks[2:]) for blocks in groups]
        for blocks in groups:
            del blocks[2:]
        images = tf.zeros(shape)
        network(images, training=True)
        operations, variables = graph.get_operations(), network.variables
        named = network.encoder.endpoints(images)
        for number, (blocks, count) in enumerate(zip(groups, left_out), start=1):
            if not count:
                continue
            before = len(graph.get_operations())
            blocks[-1](named[f"block_group{number}"], training=True)
            operations += count * graph.get_operations()[before:]
            variables += count * blocks[-1].variables
    return operations, variables


@contextlib.contextmanager
def _graph():
    """A graph that leaves Keras as it was: in a graph it gives every class of layers that is made the bases of its first version, for
    good, and networks made before could not be called any more."""
    bases = {layer: layer.__bases__ for layer in _subclasses(tf.keras.layers.Layer)}
    try:
        with tf.Graph().as_default() as graph:
            yield graph
    finally:
        for layer, before in bases.items():
            if layer.__bases__ != before:
                layer.__bases__ = before


def _subclasses(of):
    return {of}.union(*map(_subclasses, of.__subclasses__()))


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
