"""Architecture, stage and order of variables from names and shapes alone."""

import pytest
import released

from tf_simclr.config import ModelConfig
from tf_simclr.errors import UsageError
from tf_simclr.importing.architecture import read_architecture
from tf_simclr.importing.choice import choose_stage
from tf_simclr.importing.matching import encoder_layers, places
from tf_simclr.importing.names import sort_names
from tf_simclr.models.blocks import ConvNorm
from tf_simclr.models.network import Network
from tf_simclr.models.resnet import ResNet


def slots(layers, *args, **kwargs):
    """Shapes by slot."""
    named = released.shapes(layers, *args, **kwargs)
    return {slot: named[name] for slot, name in sort_names(named)[0].items()}


@pytest.mark.parametrize("tf2", [False, True])
@pytest.mark.parametrize(
    "depth, width, sk, stem, channels",
    [(50, w, sk, "imagenet", 3) for w in (1.0, 2.0, 3.0, 4.0) for sk in (False, True)]
    + [(101, 2.0, True, "imagenet", 3), (152, 3.0, True, "imagenet", 3), (152, 1.0, False, "cifar", 3), (200, 1.0, True, "cifar", 3)]
    + [(18, 1.0, False, "cifar", 3), (18, 0.3, True, "cifar", 1), (34, 0.25, False, "imagenet", 3), (34, 0.5, True, "imagenet", 1)]
    + [(10, 0.0625, False, "cifar", 1), (50, 0.125, True, "cifar", 3)],
)
def test_the_architecture_is_in_the_shapes(depth, width, sk, stem, channels, tf2):
    layers = released.encoder_layers(depth, width, sk, stem, channels)
    out = layers[-1][2]
    head = {"head_layers": 3, "head_width": 0, "head_dim": 128}
    expected = ModelConfig(depth=depth, width=width, sk=sk, stem=stem, channels=channels, **head)
    assert read_architecture(slots(layers, (out, out, 128), 10, tf2)) == expected


@pytest.mark.parametrize(
    "widths, head",
    [((), (0, 0, 128)), ((64,), (1, 0, 64)), ((96, 64), (2, 96, 64)), ((32, 32, 32, 16), (4, 0, 16))],
)
def test_the_head_is_in_the_shapes(widths, head):
    spec = read_architecture(slots(released.encoder_layers(10, 0.0625, stem="cifar"), widths))
    assert (spec.head_layers, spec.head_width, spec.head_dim) == head


@pytest.mark.parametrize(
    "depth, sk, convs, norms",
    [(50, False, 53, 53), (50, True, 87, 71), (101, False, 104, 104), (101, True, 172, 139), (152, False, 155, 155), (152, True, 257, 207)],
)
def test_layer_totals_are_those_of_the_released_models(depth, sk, convs, norms):
    theirs = slots(released.encoder_layers(depth, 1.0, sk))
    assert sum(slot.variable == "kernel" for slot in theirs) == convs and sum(slot.variable == "gamma" for slot in theirs) == norms
    ours = list(encoder_layers(ResNet(depth, 1.0, sk, "imagenet")))
    assert len(ours) == convs and sum(isinstance(layer, ConvNorm) for layer in ours) == norms


def test_numbers_of_selective_kernels_drift_apart():
    """The first block after a stem with selective kernels: shortcut, 1×1, streams, squeeze, mixing without BatchNorm, 1×1."""
    named = released.shapes(released.encoder_layers(50, 1.0, True))
    kernels = {3: (1, 1, 64, 256), 4: (1, 1, 64, 64), 5: (3, 3, 64, 128), 6: (1, 1, 64, 32), 7: (1, 1, 32, 128), 8: (1, 1, 64, 256)}
    assert {i: named[f"base_model/conv2d_{i}/kernel"] for i in kernels} == kernels
    assert [named[f"base_model/batch_normalization_{j}/gamma"] for j in range(3, 8)] == [(256,), (64,), (128,), (32,), (256,)]


@pytest.mark.parametrize("depth, sk, stem", [(10, True, "imagenet"), (10, False, "cifar")])
def test_every_place_of_a_network_is_a_released_variable(depth, sk, stem):
    theirs = slots(released.encoder_layers(depth, 0.0625, sk, stem), (32, 32, 128), 5)
    spec = ModelConfig(depth=depth, width=0.0625, sk=sk, stem=stem, image_size=16, channels=3)
    ours = places(Network(spec, 3, 5).build_variables())
    variables = {v.ref() for v in ours.values()}
    assert {slot: tuple(v.shape) for slot, v in ours.items() if slot.part != "classifier"} == {
        slot: shape for slot, shape in theirs.items() if slot.part != "classifier"
    }
    assert len(variables) == len(ours) == len(theirs)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda layers: layers[:1] + [("x", "conv", (5, 5, 4, 4))] + layers[1:], "got 3×3, 5×5, 1×1"),
        (lambda layers: layers[:-20], "as many as one of 4 .ResNet-10., 8 .ResNet-18., 16 .ResNet-34., got 3"),
        (lambda layers: [("x", "conv", (3, 3, 2, 4))] + layers[1:], "1 or 3 channels, got a first convolution for 2"),
        (lambda layers: released.encoder_layers(10, 0.0625, True, "imagenet")[:6] + layers[2:], "none in its blocks and selective"),
        (lambda layers: [("x", "conv", (3, 3, 4))] + layers[1:], r"conv2d/kernel must have 4 dimensions, got shape \[3, 3, 4\]"),
    ],
)
def test_architectures_that_cannot_be_built_are_refused(change, words):
    layers = released.encoder_layers(18, 0.0625, stem="cifar")
    with pytest.raises(UsageError, match=words):
        read_architecture(slots(change(layers)))


@pytest.mark.parametrize(
    "head, classes, on, asked, chosen",
    [
        ((32, 32, 8), 0, 0, {}, ("pretrain", 3)),
        ((), 0, 0, {}, ("pretrain", 0)),
        ((), 5, 0, {}, ("finetune", 0)),
        ((32, 32, 8), 5, 0, {"pretrained": True}, ("pretrain", 3)),
        ((), 5, 0, {"pretrained": True}, ("finetune", 0)),
        ((32, 32, 8), 5, 0, {"stage": "pretrain"}, ("pretrain", 3)),
        ((32, 32, 8), 5, 3, {}, ("finetune", 3)),
        ((64, 64, 8), 5, 0, {}, ("finetune", 0)),
        ((32, 32, 8), 5, 1, {"selector": 1}, ("finetune", 1)),
        ((32, 32, 8), 5, 1, {"selector": 2, "pretrained": True}, ("finetune", 2)),
        ((32, 32, 8), 5, 0, {}, "--stage=pretrain for a pretrained model .* --selector=0 or 1 or 2"),
        ((32, 32, 8), 5, 0, {"stage": "finetune"}, "--selector=0 or 1 or 2"),
        ((32, 32, 8), 5, 0, {"selector": 3}, r"got \[32, 32, 32, 8\] for layers 0 to 3 and --selector=3; give --selector=0 or 1 or 2"),
        ((32, 32, 8), 5, 0, {"selector": 4}, "--selector=4; give"),
        ((32, 32, 8), 0, 0, {"stage": "finetune"}, "needs a classifier"),
        ((32, 32, 8), 5, 0, {"stage": "pretrain", "selector": 1}, "drop one"),
    ],
)
def test_the_stage_is_chosen_or_asked_for(head, classes, on, asked, chosen):
    shapes = slots(released.encoder_layers(10, 0.0625, stem="cifar"), head, classes, on=on)
    spec = read_architecture(shapes)
    if isinstance(chosen, tuple):
        assert choose_stage(shapes, spec, **{"pretrained": None} | asked) == chosen
    else:
        with pytest.raises(UsageError, match=chosen):
            choose_stage(shapes, spec, **{"pretrained": None} | asked)
