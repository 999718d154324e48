"""KerasCV's backbones and a user's own, without network access; against KerasCV itself and keras.applications."""

import dataclasses
import socket

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import kerascv
from tf_simclr.config import Config, FitConfig, ModelConfig, StudentConfig, replace
from tf_simclr.errors import UsageError
from tf_simclr.models import backbones
from tf_simclr.models.keras_cv_presets import PRESETS
from tf_simclr.models.layers import BatchNorm
from tf_simclr.models.network import Network
from tf_simclr.optimizers.build import build
from tf_simclr.optimizers.masks import classifier_kernels, undecayed
from tf_simclr.planning.cost import network_cost
from tf_simclr.stages.setup import seeded
from tf_simclr.training.checkpoints import named_variables, restore_network, save_network
from tf_simclr.training.models import ContrastiveModel, DistillationModel, SupervisedModel

MOBILE = ModelConfig(backbone="keras_cv:mobilenet_v3_small", image_size=32, channels=1, head_dim=8, head_width=16)
OWN = dataclasses.replace(MOBILE, backbone="own", image_size=8)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, [4, 32, 32, 1]).astype("f")


@pytest.fixture(scope="module", autouse=True)
def offline():
    def refuse(*args, **kwargs):
        raise AssertionError("a backbone asked the network")

    with pytest.MonkeyPatch.context() as patched:
        for name in ("connect", "connect_ex", "sendto"):
            patched.setattr(socket.socket, name, refuse)
        patched.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def keras_cv(offline):
    return kerascv.load()


@pytest.fixture(scope="module")
def mobile(keras_cv):
    with seeded(0):
        return Network(MOBILE, 1, 3).build_variables()


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(backbones, "_registered", {})
    backbones.register_backbone("own", make_own)


def make_own(input_shape):
    """Keras' layers in a model that is called as it is: no functional graph, a bias, and normalisations of both kinds."""
    return tf.keras.Sequential(
        [
            tf.keras.layers.Conv2D(4, 3, strides=2),
            tf.keras.layers.BatchNormalization(momentum=0.5),
            tf.keras.layers.ReLU(),
            tf.keras.layers.Conv2D(6, 3, use_bias=False),
            tf.keras.layers.LayerNormalization(),
        ]
    )


def theirs(keras_cv):
    from keras_cv.src.models.backbones.backbone_presets import backbone_presets_no_weights

    return backbone_presets_no_weights


def size(model):
    return sum(v.shape.num_elements() for v in model.variables)


def encoder(name, **changes):
    return backbones.make_encoder(dataclasses.replace(MOBILE, backbone=f"keras_cv:{name}", **changes))


def test_importing_keras_cv_prints_nothing_and_chooses_our_keras(keras_cv, capsys):
    assert issubclass(keras_cv.models.Backbone, tf.keras.Model)
    assert capsys.readouterr() == ("", "")


def test_every_preset_of_images_without_weights_is_known(keras_cv):
    others = {name for name in theirs(keras_cv) if name.startswith(("videoswin", "vitdet"))}
    assert set(PRESETS) == set(theirs(keras_cv)) - others and others


def check_size(name, keras_cv):
    """Against KerasCV's record of the size; where it has none or an older version's, against keras.applications."""
    reference = {
        "mobilenet_v3_small": tf.keras.applications.MobileNetV3Small,
        "mobilenet_v3_large": tf.keras.applications.MobileNetV3Large,
        **{f"efficientnetv1_b{i}": getattr(tf.keras.applications, f"EfficientNetB{i}") for i in range(8)},
        **{f"densenet{depth}": getattr(tf.keras.applications, f"DenseNet{depth}") for depth in (121, 169, 201)},
    }
    if name in reference:
        model = reference[name](weights=None, include_top=False, input_shape=(64, 64, 3))
        expected = size(model) - sum(size(layer) for layer in model.layers if isinstance(layer, tf.keras.layers.Normalization))
    else:
        expected = theirs(keras_cv)[name]["metadata"]["params"]
        if name.startswith("efficientnetlite"):
            # Recorded of a version whose first block had a 1×1 convolution and BatchNorm too, from the stem's 32 channels to those scaled.
            inner, out = {"b3": (40, 24), "b4": (48, 24)}.get(name[-2:], (32, 16))
            expected -= 32 * inner + 4 * inner + (inner - 32) * (3 * 3 + 4 + out)
    assert size(encoder(name, channels=3)) == expected


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18_v2", "yolo_v8_xs_backbone"])
def test_sizes(name, keras_cv):
    check_size(name, keras_cv)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_all_sizes(name, keras_cv):
    check_size(name, keras_cv)


def test_equals_keras_cv_on_pixels_of_0_to_255(keras_cv):
    """KerasCV's own rescaling included: what leaves the last layer, and the levels of its pyramid."""
    cls, arguments = PRESETS["mobilenet_v3_small"]
    whole = getattr(keras_cv.models, cls)(**arguments, include_rescaling=True, input_shape=(32, 32, 1))
    ours = encoder("mobilenet_v3_small")
    ours.set_weights(whole.get_weights())
    found = ours.endpoints(IMAGES / 255)
    np.testing.assert_allclose(found["final_avg_pool"], tf.reduce_mean(whole(IMAGES), [1, 2]), rtol=1e-4, atol=1e-7)
    for n in (2, 3, 4, 5):
        level = tf.keras.Model(whole.input, whole.get_layer(whole.pyramid_level_inputs[f"P{n}"]).output)
        assert found[f"block_group{n - 1}"].shape[1] == 32 / 2**n
        np.testing.assert_allclose(found[f"block_group{n - 1}"], level(IMAGES), rtol=1e-4, atol=1e-6)


def test_images_are_resized_before_a_backbone_that_asks_for_it(own):
    plain, resizing = (backbones.make_encoder(dataclasses.replace(OWN, **size)) for size in ({"image_size": 16}, {"backbone_size": 16}))
    resizing.set_weights(plain.get_weights())
    images = IMAGES[:, :8, :8]
    np.testing.assert_allclose(resizing(images), plain(tf.image.resize(images, [16, 16])), atol=1e-6)


def test_features_and_width(mobile):
    out = mobile(IMAGES / 255)
    assert mobile.encoder.output_width == 576 and out["features"][0].shape == (4, 576)
    assert out["features"][1].shape == (4, 16) and out["logits"].shape == (4, 3)
    np.testing.assert_array_equal(out["features"][0], mobile.encoder.endpoints(IMAGES / 255)["final_avg_pool"])


def test_a_model_may_give_features(monkeypatch):
    monkeypatch.setattr(backbones, "_registered", {})
    backbones.register_backbone("flat", lambda shape: tf.keras.Sequential([tf.keras.layers.Flatten(input_shape=shape)]))
    images = IMAGES[:, :8, :8]
    found = backbones.make_encoder(dataclasses.replace(OWN, backbone="flat"))
    assert found.output_width == 64
    np.testing.assert_array_equal(found(images), images.reshape(4, 64))


@pytest.mark.parametrize("spec", [MOBILE, OWN], ids=["keras_cv", "own"])
def test_counting_gives_the_size_of_the_real_network(spec, mobile, own):
    real = mobile if spec is MOBILE else Network(spec, 1, 3).build_variables()
    cost = network_cost(spec, 1, 3)
    assert cost.parameters == size(real)
    assert cost.trainable == sum(v.shape.num_elements() for v in real.trainable_variables)


def test_flops_of_a_model_by_hand(monkeypatch):
    monkeypatch.setattr(backbones, "_registered", {})
    layers = tf.keras.layers
    convs = [layers.Conv2D(6, 3, 2, "same"), layers.DepthwiseConv2D(3, padding="same")]
    backbones.register_backbone("convs", lambda shape: tf.keras.Sequential([layers.Input(shape), *convs]))
    cost = network_cost(dataclasses.replace(OWN, backbone="convs"), 1, 3)
    assert cost.flops == 2 * (4 * 4 * 6 * 9 + 4 * 4 * 6 * 9 + 6 * 16 + 16 * 3)


@pytest.mark.parametrize("spec", [MOBILE, OWN], ids=["keras_cv", "own"])
def test_masks_by_role(spec, mobile, own):
    """By what the variables are: everything but kernels, and the classifier's kernel."""
    network = mobile if spec is MOBILE else Network(spec, 1, 3).build_variables()
    vectors = {v.ref() for v in network.trainable_variables if v.shape.rank == 1}
    assert {v.ref() for v in undecayed(network)} == set(vectors) and len(undecayed(network)) == len(vectors)
    assert [v.ref() for v in classifier_kernels(network)] == [network.classifier.kernel.ref()]


def test_keras_cvs_moving_statistics_are_as_quick_as_ours(mobile):
    norms = [layer for layer in mobile.submodules if isinstance(layer, tf.keras.layers.BatchNormalization)]
    assert len(norms) > 20 and all(layer.momentum == BatchNorm.MOMENTUM for layer in norms)


def test_checkpoint_round_trip(mobile, tmp_path):
    assert len(named_variables(mobile)) == len(mobile.variables)
    save_network(tmp_path, mobile)
    other = Network(MOBILE, 0, 2).build_variables()
    for v in other.variables:
        v.assign(tf.fill(v.shape, 7.0))
    restore_network(tmp_path, other, classifier=False)
    for theirs, ours in zip(mobile.encoder.get_weights(), other.encoder.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(other.classifier.kernel, np.full([576, 2], 7))


def test_one_step_of_each_objective_moves_every_variable(mobile):
    mobile.classifier.kernel.assign(tf.random.stateless_normal(mobile.classifier.kernel.shape, [1, 2]))
    views = [IMAGES / 255, IMAGES[:, ::-1] / 255]
    with seeded(1):  # from some first weights a bias of a few units, all of them at rest for these images, would not move
        alone = Network(MOBILE, 3).build_variables()
    teacher = Network(ModelConfig(depth=10, width=0.05, stem="cifar2", image_size=32, channels=1), 0, 3).build_variables()
    for model, batch in (
        (ContrastiveModel(alone, 0.5), {"views": views}),
        (SupervisedModel(mobile), {"views": views, "label": np.array([0, 1, 2, 0])}),
        (DistillationModel(mobile, teacher, 1.0, 1.0), {"unlabelled": {"views": views}}),
    ):
        encoder = model.network.encoder
        model.compile(build(model.network, FitConfig(optimizer="adamw", learning_rate=0.01, warmup=0.0), 10))
        before = encoder.get_weights()
        assert np.isfinite(model.train_step(batch)["loss"]), type(model)
        assert not [v.name for v, old in zip(encoder.weights, before) if np.array_equal(v, old)], type(model)


def test_two_replicas_see_the_global_batch(own, two_replicas):
    """Statistics of a batch that differs between the replicas, against one replica."""
    one = Network(OWN, 0).build_variables()
    with two_replicas.scope():
        two = Network(OWN, 0).build_variables()
    two.set_weights(one.get_weights())
    images = (IMAGES[:, :8, :8] / 255 + np.arange(4)[:, None, None, None]).astype("f")
    parts = two_replicas.experimental_distribute_values_from_function(
        lambda c: tf.constant(np.split(images, 2)[c.replica_id_in_sync_group])
    )
    halves = two_replicas.run(tf.function(lambda x: two.encoder(x, training=True)), [parts])
    np.testing.assert_allclose(tf.concat(two_replicas.experimental_local_results(halves), 0), one.encoder(images, training=True), atol=1e-4)
    norm, alone = (next(m for m in n.submodules if isinstance(m, tf.keras.layers.BatchNormalization)) for n in (two, one))
    np.testing.assert_allclose(norm.moving_mean.numpy(), alone.moving_mean, rtol=1e-5)


@pytest.mark.parametrize(
    "name, words",
    [
        ("keras_cv:mobilenet_v3_smal", "got keras_cv:mobilenet_v3_smal; near: mobilenet_v3_small"),
        ("keras_cv:vitdet_base", "presets without weights, got keras_cv:vitdet_base"),
        ("mine", r"has registered \(own\), got 'mine'; call tf_simclr.register_backbone\('mine', make\) first"),
    ],
)
def test_unknown_names(name, words, own):
    with pytest.raises(UsageError, match=words):
        backbones.make_encoder(dataclasses.replace(MOBILE, backbone=name))


def test_a_size_without_a_backbone_is_refused():
    with pytest.raises(UsageError, match="backbone_size needs a backbone, got 64 and none; .*--image_size"):
        backbones.check_backbone(StudentConfig(backbone_size=64))


@pytest.mark.parametrize(
    "made, words",
    [
        (lambda shape: None, "must be made as a tf.keras.Model, got <class 'NoneType'>"),
        (lambda shape: tf.keras.Sequential([tf.keras.layers.Reshape([64, 1])]), r"must give .* got shape \(None, 64, 1\)"),
    ],
)
def test_what_is_no_encoder_is_refused(made, words, own):
    backbones.register_backbone("own", made)
    with pytest.raises(UsageError, match=words):
        backbones.make_encoder(OWN)


def test_two_networks_with_the_same_weights_are_refused(own):
    one = make_own(None)
    backbones.register_backbone("own", lambda shape: one)
    network = Network(OWN, 1, 3)
    for make in (lambda shape: one, lambda shape: tf.keras.Sequential([one])):
        backbones.register_backbone("own", make)
        with pytest.raises(UsageError, match="'own' must be a new model for every network, got weights that another one has; make them"):
            Network(OWN, 1, 3)
    assert network.encoder.variables


@pytest.mark.parametrize("name, make", [("", make_own), ("keras_cv:own", make_own), ("own", "make_own")])
def test_what_cannot_be_registered_is_refused(name, make):
    with pytest.raises(UsageError, match="got ('|)" + (name if callable(make) else "make_own")):
        backbones.register_backbone(name, make)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model__backbone": "own", "model__depth": 10}, "--depth describes our ResNet and must stay 18 with the backbone own, got 10"),
        ({"model__backbone": "own", "model__stem": "cifar"}, "--stem describes .* say --stem=auto"),
        ({"student__backbone": "own", "student__width": 0.5}, "--student_width describes .* say --student_width=0.0 after a flag file"),
    ],
)
def test_settings_that_do_not_go_together(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(Config(), **changes)
