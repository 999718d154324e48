"""Runs in a process that does other things as well, and other runs."""

import gc
import threading

import numpy as np
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("short_resnet_throughout")


def baseline(run_dir, **changes):
    """Settings of the shortest training."""
    return tiny.settings("finetune", run_dir, **({"supervised__steps": 1} | changes))


def variables(run_dir):
    """dict from name to value of all that a run's checkpoint holds."""
    reader = tf.train.load_checkpoint(str(next(RunDirectory(run_dir).checkpoints.glob("step-*")) / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("network/", "optimizer/"))]
    return {name: reader.get_tensor(name) for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("runs") / "alone"
    tf_simclr.run(baseline(run_dir), tiny.data())
    return run_dir


def same(run_dir, other):
    (ours, theirs) = variables(run_dir), variables(other)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def alive(kind):
    gc.collect()
    return sum(isinstance(x, kind) for x in gc.get_objects())


@pytest.mark.smoke
@pytest.mark.parametrize("strategy", ["one", "mirrored"])
def test_nothing_of_a_training_is_kept(tmp_path, strategy):
    counts = []
    for name in "ab":
        tf_simclr.run(baseline(tmp_path / name, strategy=strategy), tiny.data())
        counts.append((alive(tf.Variable), alive(tf.Graph)))
    assert counts[0] == counts[1]


def test_a_policy_outside_decides_nothing(tmp_path, alone):
    """Neither what is trained, nor what a checkpoint holds, nor what an export computes in."""
    tf_simclr.run(tiny.settings("export", tmp_path / "expected", from_run=str(alone)))
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        tf_simclr.run(baseline(tmp_path / "run"), tiny.data())
        tf_simclr.run(tiny.settings("export", tmp_path / "export", from_run=str(alone)))
        assert tf.keras.mixed_precision.global_policy().name == "mixed_float16"
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert same(tmp_path / "run", alone)
    images = tf.random.stateless_uniform([4, 16, 16, 1], [1, 2])
    answers = [tf_simclr.load_export(tmp_path / name)(images).numpy() for name in ("expected", "export")]
    np.testing.assert_array_equal(*answers)


@pytest.mark.smoke
def test_generators_outside_go_on(tmp_path):
    def draw():
        return tf.random.uniform([3]).numpy(), tf.keras.initializers.RandomNormal()([3]).numpy()

    tf.keras.utils.set_random_seed(123)
    expected = draw()
    tf.keras.utils.set_random_seed(123)
    tf_simclr.run(baseline(tmp_path / "run"), tiny.data())
    np.testing.assert_array_equal(draw(), expected)


def test_threads_run_one_after_another(tmp_path, alone):
    """In two precisions; and in one directory, which the second finds finished."""
    homes = {"float32": tmp_path / "a", "mixed_bfloat16": tmp_path / "b"}
    results = []
    runs = [baseline(home, precision=precision) for precision, home in homes.items()] + [baseline(homes["float32"])]
    threads = [threading.Thread(target=lambda config=config: results.append(tf_simclr.run(config, tiny.data()))) for config in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert same(homes["float32"], alone) and not same(homes["mixed_bfloat16"], alone)
    assert len(RunDirectory(homes["float32"]).metrics.read_text().splitlines()) == 1


def test_the_scope_of_a_strategy_is_refused(tmp_path, two_replicas):
    with two_replicas.scope(), pytest.raises(UsageError, match="in the scope of a MirroredStrategy; call it outside"):
        tf_simclr.run(baseline(tmp_path / "run"), tiny.data())
    assert not (tmp_path / "run").exists()
