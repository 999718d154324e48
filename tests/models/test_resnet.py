import numpy as np
import oracles
import pytest
import tensorflow as tf
from scipy.special import softmax

from tf_simclr.models.blocks import Bottleneck, SelectiveKernel
from tf_simclr.models.layers import BatchNorm, Conv, recomputing
from tf_simclr.models.resnet import LAYOUTS, ResNet, scaled, stem_for


def scrambled(encoder, seed=0):
    """Gives every variable a random value and returns (kernels, norms) in order of creation."""
    rng = np.random.default_rng(seed)
    for v in encoder.variables:
        if v.shape.rank == 4:
            v.assign(rng.normal(0, np.prod(v.shape[:3]) ** -0.5, v.shape))
        else:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    kernels = [v.numpy() for v in encoder.variables if v.shape.rank == 4]
    parts = [[v.numpy() for v in encoder.variables if f"/{n}:" in v.name] for n in ("gamma", "beta", "moving_mean", "moving_variance")]
    return kernels, list(zip(*parts))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("depth", [10, 50])
def test_recomputing_changes_no_gradient_and_moves_statistics_once(depth, jit, short_resnet):
    encoder = ResNet(depth, 0.125, True, "imagenet")
    images = tf.random.stateless_uniform([4, 17, 17, 3], [1, 2])
    encoder(images)
    scrambled(encoder)
    moving = encoder.non_trainable_variables
    start = [v.numpy() for v in moving]

    @tf.function(jit_compile=jit)
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(encoder(images, training=True)))
        return tape.gradient(loss, encoder.trainable_variables)

    kept, after = gradients(), [v.numpy() for v in moving]
    for v, value in zip(moving, start):
        v.assign(value)
    with recomputing():
        again = tf.function(gradients.python_function, jit_compile=jit)()
    for one, other in zip(kept, again):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())
    for v, value in zip(moving, after):
        np.testing.assert_allclose(v, value, rtol=1e-5)


@pytest.mark.parametrize("sk", [False, True])
@pytest.mark.parametrize("depth, width, stem, size, channels", [(18, 0.25, "cifar", 9, 1), (50, 0.125, "imagenet", 35, 3)])
def test_equals_plain_operations(depth, width, stem, size, channels, sk):
    encoder = ResNet(depth, width, sk, stem)
    images = tf.random.stateless_uniform([2, size, size, channels], [1, 2])
    encoder(images)  # odd sizes, so that padding on the wrong side would show
    block, counts = LAYOUTS[depth]
    expected = oracles.PlainResNet(*scrambled(encoder))(images, counts, block is Bottleneck, sk, stem)
    np.testing.assert_allclose(encoder(images) / tf.reduce_max(expected), expected / tf.reduce_max(expected), atol=1e-4)


@pytest.mark.parametrize(
    "depth, sk, width, channels",
    [(10, True, 0.125, 3), (18, True, 0.3, 1), (34, False, 0.125, 3), (50, True, 0.125, 1), (101, False, 0.125, 3)]
    + [(152, False, 0.05, 3), (200, False, 0.001, 1)],
)
def test_every_depth_runs(depth, sk, width, channels):
    encoder = ResNet(depth, width, sk, "cifar")
    features = encoder(tf.random.stateless_uniform([2, 32, 32, channels], [1, 2]))
    assert features.shape == (2, encoder.output_width) and np.all(np.isfinite(features))
    assert encoder.output_width == scaled(512, width) * (1 if depth < 50 else 4)


@pytest.mark.parametrize(
    "depth, sk, convs, norms",
    [(50, False, 53, 53), (50, True, 87, 71), (101, False, 104, 104), (101, True, 172, 139), (152, False, 155, 155), (152, True, 257, 207)],
)
def test_layer_totals_of_the_released_models(depth, sk, convs, norms):
    layers = ResNet(depth, 1.0, sk, "imagenet").submodules
    assert sum(isinstance(layer, Conv) for layer in layers) == convs
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == norms


def test_variables_come_in_the_order_of_the_released_models():
    encoder = ResNet(50, 1.0, True, "imagenet")
    encoder.stem(tf.zeros([1, 8, 8, 3]))
    block = encoder.groups[0][0]
    block(tf.zeros([1, 4, 4, 64]))
    shapes = [tuple(v.shape) for v in block.variables if v.shape.rank == 4]
    # shortcut, 1×1, streams, squeeze, mixing, out: conv2d_3 to conv2d_8
    assert shapes == [(1, 1, 64, 256), (1, 1, 64, 64), (3, 3, 64, 128), (1, 1, 64, 32), (1, 1, 32, 128), (1, 1, 64, 256)]
    assert [tuple(v.shape) for v in encoder.stem.variables if v.shape.rank == 4] == [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]
    widths = [v.shape[0] for v in block.variables if "gamma" in v.name]
    assert widths == [256, 64, 128, 32, 256]


def test_endpoints():
    encoder = ResNet(10, 0.125, True, "imagenet")
    images = tf.random.stateless_uniform([1, 64, 64, 3], [1, 2])
    shapes = {name: tuple(value.shape[1:]) for name, value in encoder.endpoints(images).items()}
    assert shapes == {
        "initial_conv": (32, 32, 8),
        "initial_max_pool": (16, 16, 8),
        "block_group1": (16, 16, 8),
        "block_group2": (8, 8, 16),
        "block_group3": (4, 4, 32),
        "block_group4": (2, 2, 64),
        "final_avg_pool": (64,),
    }
    np.testing.assert_array_equal(encoder(images), encoder.endpoints(images)["final_avg_pool"])


def test_the_stem_for_a_size():
    assert [stem_for(size) for size in (28, 32, 33, 224)] == ["cifar", "cifar", "imagenet", "imagenet"]


def test_a_new_block_is_the_identity():
    block = Bottleneck(4, 1, sk=True, project=False)
    x = tf.random.stateless_normal([2, 6, 6, 16], [1, 2])
    np.testing.assert_array_equal(block(x, training=True), tf.nn.relu(x))


def test_selective_kernel_mixes_two_streams():
    layer = SelectiveKernel(4, stride=2)
    x = tf.random.stateless_normal([2, 5, 5, 3], [1, 2])
    layer(x)
    streams = layer.streams(x)
    layer.mixing.conv.kernel.assign(3 * layer.mixing.conv.kernel)
    halves = np.stack([streams[..., :4], streams[..., 4:]])
    squeezed = layer.squeeze(tf.constant(halves.sum(0).mean((1, 2), keepdims=True)))
    share = softmax(layer.mixing(squeezed).numpy().reshape(2, 1, 1, 2, 4).transpose(3, 0, 1, 2, 4), axis=0)
    assert np.ptp(share) > 0.1  # it does prefer
    np.testing.assert_allclose(layer(x), (halves * share).sum(0), atol=1e-6)
    assert layer(x).shape == (2, 3, 3, 4)
