"""R3, R4, R5, R8, R9, R17: damaged checkpoints, other variables, NaN, two writers, signals, and the same run again."""

import functools
import itertools
import json
import signal
import subprocess
import time

import numpy as np
import problem
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr import durable, interruption
from tf_simclr.config import FitConfig, replace
from tf_simclr.data.pipeline import Share
from tf_simclr.errors import Interrupted, NotFiniteError, UsageError
from tf_simclr.optimizers.build import build
from tf_simclr.stages import setup
from tf_simclr.training import fit
from tf_simclr.training.callbacks import Probe, SaveEvery
from tf_simclr.training.checkpoints import Checkpoints, newest, restore_network

pytestmark = pytest.mark.usefixtures("short_resnet")


def settings(run_dir, **changes):
    """A pretraining of 12 steps with a checkpoint every 3."""
    short = {"pretrain__steps": 12, "pretrain__probe_every": 0.0, "checkpoint_every": 3, "keep_checkpoints": 2}
    return tiny.settings("pretrain", run_dir, **(short | changes))


def state(network, rule="adamw", seed=1):
    """(network, its built optimizer)."""
    optimizer = build(network, FitConfig(optimizer=rule), total_steps=10)
    optimizer.build(network.trainable_variables)
    for i, variable in enumerate(optimizer.variables):
        if variable.dtype.is_floating:
            variable.assign(tf.fill(variable.shape, 0.01 * i))
    return network, optimizer


def small(head_layers=3, classes=0, seed=1, **changes):
    spec = setup.resolve(replace(tiny.settings("pretrain", "x"), **{f"model__{k}": v for k, v in changes.items()}).model, tiny.data().train)
    return setup.build_network(spec, head_layers, classes, seed)


DAMAGES = {
    "a byte flipped": lambda path: flip(path / "state.data-00000-of-00001"),
    "cut short": lambda path: (path / "state.data-00000-of-00001").write_bytes((path / "state.data-00000-of-00001").read_bytes()[:-7]),
    "index deleted": lambda path: (path / "state.index").unlink(),
    "manifest garbled": lambda path: (path / "manifest.json").write_text('{"step": 12, "files": ['),
    "manifest of another shape": lambda path: (path / "manifest.json").write_text('{"files": {"../../x": {}}}'),
    "index flipped": lambda path: flip(path / "state.index"),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.fault("R3")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, damage, outcome):
    network, optimizer = state(small())
    checkpoints = Checkpoints(tmp_path, network, optimizer, keep=2)
    checkpoints.save(3, loss=2.0)
    before = [w.copy() for w in network.get_weights()]
    network.set_weights([w + 1 for w in before])
    checkpoints.save(6, loss=1.0)
    DAMAGES[damage](tmp_path / "step-00000006")
    other, slots = state(small(seed=2))
    with caplog.at_level("WARNING", logger="absl"):
        assert Checkpoints(tmp_path, other, slots, keep=2).restore() == 3
    assert "step-00000006 is damaged" in caplog.text
    for a, b in zip(before, other.get_weights()):
        np.testing.assert_array_equal(a, b)
    # With nothing whole left there is no silent fresh start.
    DAMAGES[damage](tmp_path / "step-00000003")
    with pytest.raises(UsageError, match="damaged ones only.*step-00000006.*step-00000003"):
        Checkpoints(tmp_path, other, slots, keep=2).restore()
    outcome(f"{damage}: named, the one before used")


OTHERS = {
    "removed": (lambda: small(classes=4), "adamw", "supervised_head"),
    "added": (lambda: small(head_layers=2), "adamw", "unknown here: .*/head_layer"),
    "reshaped": (lambda: small(width=0.125), "adamw", "conv2d"),
    "slot removed": (lambda: small(), "sgd", "another shape|unknown here|missing"),
}


@pytest.mark.fault("R4")
@pytest.mark.parametrize("change", OTHERS)
def test_a_checkpoint_of_other_variables_is_refused_by_name(tmp_path, change, outcome):
    Checkpoints(tmp_path, *state(small()), keep=1).save(3)
    make, rule, named = OTHERS[change]
    with pytest.raises(UsageError, match=named) as error:
        Checkpoints(tmp_path, *state(make(), rule), keep=1).restore()
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)
    outcome(f"{change}: refused by name")


@pytest.mark.fault("R4")
def test_a_network_of_other_variables_is_refused_and_left_alone(tmp_path, caplog, outcome):
    Checkpoints(tmp_path, *state(small()), keep=1).save(3)
    wider = small(width=0.125)
    before = wider.get_weights()
    with pytest.raises(UsageError, match=r"shape encoder/\S+ is \[.*\] instead of \["):
        restore_network(tmp_path, wider)
    for a, b in zip(before, wider.get_weights()):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError, match="missing classifier/bias, classifier/kernel"):
        restore_network(tmp_path, small(head_layers=1, classes=3))
    with caplog.at_level("INFO", logger="absl"):
        restore_network(tmp_path, small(head_layers=1, classes=3), classifier=False)
    assert "2 new (classifier 2)" in caplog.text and "left behind (head " in caplog.text
    # A moving statistic that the checkpoint does not have.
    network = small()
    network.encoder.stem.convs[0].norm.moving_median = tf.Variable([0.0])
    with pytest.raises(UsageError, match="missing encoder/stem/convs/0/norm/moving_median"):
        restore_network(tmp_path, network)
    outcome("stage change: missing, unknown and reshaped variables named, nothing restored")


@pytest.mark.fault("R5")
@pytest.mark.parametrize("where", [pytest.param("nan_loss", marks=pytest.mark.slow), "nan_gradient"])
def test_nan_stops_before_the_update(data, tmp_path, where, outcome):
    done = problem.run(problem.flags(data, tmp_path / "run", "pretrain"), f"{where}:7")
    assert done.returncode == NotFiniteError.exit_code and "Traceback" not in done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert "step 7" in said and "image " in said and (("the loss" if where == "nan_loss" else "gradient") in said), said
    assert problem.committed(tmp_path / "run") == [3, 6]
    assert all(np.isfinite(value).all() for value in problem.state(tmp_path / "run").values() if np.asarray(value).dtype.kind == "f")
    outcome(f"{where}: exit 3, step and images named, last good checkpoint at step 6")


@pytest.mark.slow
@pytest.mark.fault("R5")
def test_nan_in_compiled_steps_stops_before_anything_is_saved(data, tmp_path, outcome):
    flags = [*problem.flags(data, tmp_path / "run", "pretrain"), "--jit", "--augment_on=device", "--steps_per_execution=2"]
    done = problem.run(flags, "nan_gradient:7")
    assert done.returncode == NotFiniteError.exit_code and "Traceback" not in done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert "one of the steps 7 to 8" in said and "image " in said, said
    assert problem.committed(tmp_path / "run") == [4, 6]
    assert all(np.isfinite(value).all() for value in problem.state(tmp_path / "run").values() if np.asarray(value).dtype.kind == "f")
    outcome("compiled: exit 3, steps and images named, last good checkpoint at step 6")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network, optimizer = state(small())
    checkpoints = Checkpoints(tmp_path, network, optimizer, keep=1)
    checkpoints.save(3)
    network.encoder.stem.convs[0].norm.moving_mean.assign(tf.fill([network.encoder.stem.convs[0].norm.moving_mean.shape[0]], np.nan))
    with pytest.raises(NotFiniteError, match="moving_mean"):
        checkpoints.save(6)
    assert newest(tmp_path).name == "step-00000003"


def test_the_newest_and_the_best_are_kept(tmp_path):
    network, optimizer = state(small())
    checkpoints = Checkpoints(tmp_path, network, optimizer, keep=2)
    for step, loss in ((3, 2.0), (6, 0.5), (9, 1.0), (12, 0.9), (15, 0.8)):
        checkpoints.save(step, loss)
    assert [path.name for path in durable.sealed_below(tmp_path)] == ["step-00000006", "step-00000012", "step-00000015"]


@pytest.mark.fault("R8")
def test_a_run_directory_has_one_writer(data, tmp_path, outcome):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    code = f"from tf_simclr import lock; import time; lock.acquire({str(run_dir)!r}); print('locked', flush=True); time.sleep(600)"
    owner = subprocess.Popen([problem.sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "locked\n"
        start = time.perf_counter()
        with pytest.raises(UsageError, match=f"process {owner.pid} on "):
            tf_simclr.run(settings(run_dir), tiny.data())
        seconds = time.perf_counter() - start
        assert seconds < 10
    finally:
        owner.kill()
        owner.wait()
    tf_simclr.run(settings(run_dir, pretrain__steps=1), tiny.data())
    # The lock is gone with the run, also in one process.
    tf_simclr.run(settings(run_dir, pretrain__steps=1), tiny.data())
    outcome(f"refused after {seconds:.1f} s, naming the owner; taken over when that was killed")


def test_interruption_waits_where_it_is_deferred(monkeypatch):
    with pytest.raises(Interrupted), interruption.heeding():
        with pytest.raises(Interrupted, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
        reached = []
        with pytest.raises(Interrupted, match="SIGINT"):
            with interruption.deferred():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)  # at once, as a program does that signals a process and its group
                reached.append("end of the block")
        assert reached
        monkeypatch.setattr(interruption, "_APART", 0.0)
        with pytest.raises(KeyboardInterrupt) as raised:
            with interruption.deferred():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
                reached.append("never")
        assert len(reached) == 1 and raised.type is KeyboardInterrupt, "which saves nothing, and exits with 130"
        interruption.forget()


def test_a_signal_waits_for_the_metrics_of_an_epoch(tmp_path, monkeypatch):
    measured, real = [], Probe.on_epoch_end

    def probe(self, epoch, logs=None):
        real(self, epoch, logs)
        if not measured:
            signal.raise_signal(signal.SIGTERM)
            measured.append(epoch)

    monkeypatch.setattr(Probe, "on_epoch_end", probe)
    asked = settings(tmp_path, pretrain__steps=42, pretrain__probe_every=1.0)
    with pytest.raises(Interrupted, match="SIGTERM at step 21 of 42, saved in"), interruption.heeding():
        tf_simclr.run(asked, tiny.data())
    assert measured == [0]
    tf_simclr.run(asked, tiny.data())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [21, 42] and all("knn" in line for line in lines)


class _Finalised:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_is_swallowed_or_becomes_another_error_is_heeded_at_the_end():
    reached = []
    with pytest.raises(Interrupted, match="SIGTERM"), interruption.heeding():
        _Finalised()
        reached.append("Python has ignored it")
    assert reached
    with pytest.raises(Interrupted, match="SIGINT"), interruption.heeding():
        try:
            signal.raise_signal(signal.SIGINT)
        except Interrupted:
            raise RuntimeError("as a library may translate it") from None
    with pytest.raises(RuntimeError), interruption.heeding():
        raise RuntimeError("of its own")


@pytest.mark.fault("R9")
@pytest.mark.parametrize("stage", ["pretrain", *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("evaluate", "export"))])
def test_sigterm_ends_a_step_saves_and_exits_42(data, request, tmp_path, stage, outcome):
    log = tmp_path / "steps"
    if stage == "pretrain":
        arguments = problem.flags(data, tmp_path / "run", stage, steps=100_000, checkpoint_every=1_000_000)
    else:
        trained = request.getfixturevalue("undisturbed") / "finetune_1"
        arguments = [f"--stage={stage}", f"--from={trained}", f"--run_dir={tmp_path / 'out'}"]
    process = problem.start(arguments, log)
    # In the midst of it: after some steps, else when the scoring or the writing of the export begins.
    while len(problem.logged(log)) < (6 if stage == "pretrain" else 1) and process.poll() is None:
        time.sleep(0.01)
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    seconds = time.perf_counter() - start
    assert process.returncode == 42 and "SIGTERM" in said, said[-2000:]
    assert seconds < 10
    if stage == "pretrain":
        assert problem.committed(tmp_path / "run") == [len(problem.updates(log))]
    outcome(f"{stage}: exit 42 after {seconds:.1f} s")


def test_a_worker_among_others_saves_nothing_on_a_signal(tmp_path, monkeypatch):
    """A save reads what the workers have in common, and the others would not come to it."""
    real = SaveEvery.on_train_batch_end

    def stop(self, batch, logs=None):
        real(self, batch, logs)
        if self.step == 5:
            raise Interrupted("SIGTERM")

    monkeypatch.setattr(SaveEvery, "on_train_batch_end", stop)
    monkeypatch.setattr(setup.replicas, "alone", lambda: False)
    with pytest.raises(Interrupted, match="SIGTERM at step 5 of 12; .* holds the last checkpoint"):
        tf_simclr.run(settings(tmp_path / "run"), tiny.data())
    assert problem.committed(tmp_path / "run") == [3]


@pytest.mark.slow
@pytest.mark.fault("R17")
def test_resumed_after_a_step_a_run_is_the_same(tmp_path, monkeypatch, outcome):
    stops = range(1, 12)
    tf_simclr.run(settings(tmp_path / "whole"), tiny.data())
    real = SaveEvery.on_train_batch_end

    def stop(self, batch, logs=None):
        real(self, batch, logs)
        if self.step in stops:
            raise Interrupted("SIGTERM")

    with monkeypatch.context() as patched:
        patched.setattr(SaveEvery, "on_train_batch_end", stop)
        for step in stops:
            with pytest.raises(Interrupted):
                tf_simclr.run(settings(tmp_path / "broken"), tiny.data())
            assert problem.committed(tmp_path / "broken")[-1] == step
    tf_simclr.run(settings(tmp_path / "broken"), tiny.data())
    problem.assert_same(problem.state(tmp_path / "whole"), problem.state(tmp_path / "broken"))
    tf_simclr.run(settings(tmp_path / "seed", seed=2), tiny.data())
    assert not np.array_equal(
        problem.state(tmp_path / "whole")["network/encoder/stem/convs/0/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"],
        problem.state(tmp_path / "seed")["network/encoder/stem/convs/0/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"],
    )
    outcome(f"stopped and resumed after each of {len(stops)} steps, of the same seed: identical; another seed: different")


@pytest.mark.fault("R17")
def test_one_replica_and_two_see_the_same_examples(two_replicas, outcome):
    config, source = settings("x"), tiny.data().train
    spec = setup.resolve(config.model, source)
    batches = setup.batches_of(source, spec, config.pretrain, config, view_count=2)
    alone = list(batches(start=2, stop=5, share=Share()))
    shared = list(itertools.islice(fit.distributed(two_replicas, functools.partial(batches, start=2, stop=5)), 3))
    for one, both in zip(alone, shared, strict=True):
        pairs = [(one[key], both[key]) for key in ("example", "position")] + list(zip(one["views"], both["views"]))
        for whole, parts in pairs:
            np.testing.assert_array_equal(whole, np.concatenate([part.numpy() for part in two_replicas.experimental_local_results(parts)]))
    # Two processes make what one makes, each its own half.
    halves = [list(batches(start=2, stop=5, share=Share(2, first, 1))) for first in (0, 1)]
    for one, first, second in zip(alone, *halves, strict=True):
        np.testing.assert_array_equal(one["example"], np.concatenate([first["example"], second["example"]]))
        np.testing.assert_array_equal(one["views"][1], np.concatenate([first["views"][1], second["views"][1]]))
    outcome("one replica and two: the same examples and views in the same order")


def test_changed_settings_are_refused_and_force_keeps_the_old_run(tmp_path):
    run_dir = tmp_path / "run"
    tf_simclr.run(settings(run_dir, pretrain__steps=1), tiny.data())
    with pytest.raises(UsageError, match="pretrain.temperature was 0.1 and is 0.5"):
        tf_simclr.run(settings(run_dir, pretrain__steps=1, pretrain__temperature=0.5), tiny.data())
    tf_simclr.run(settings(run_dir, pretrain__steps=1, pretrain__temperature=0.5, force=True), tiny.data())
    (old,) = (run_dir / "replaced").iterdir()
    assert json.loads((old / "config.json").read_text())["settings"]["pretrain"]["temperature"] == 0.1
    assert problem.committed(old) == [1] and problem.committed(run_dir) == [1]
    # What was built on the old weights is no longer a continuation.
    later = tiny.settings("finetune", tmp_path / "later", from_run=str(run_dir), finetune__steps=1)
    tf_simclr.run(later, tiny.data())
    tf_simclr.run(settings(run_dir, pretrain__steps=1, force=True), tiny.data())
    with pytest.raises(UsageError, match="no longer those that it started from"):
        tf_simclr.run(later, tiny.data())
    tf_simclr.run(replace(later, force=True), tiny.data())


def test_metadata_that_is_not_ours_is_refused(tmp_path):
    run_dir = tmp_path / "run"
    tf_simclr.run(settings(run_dir, pretrain__steps=1), tiny.data())
    path = run_dir / "config.json"
    whole = path.read_text()
    for content, words in (
        ("{", "cannot be read"),
        ("[]", "JSON object"),
        (whole.replace('"selector":', '"extra": 1, "selector":'), "extra"),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=words):
            tf_simclr.run(tiny.settings("finetune", tmp_path / "later", from_run=str(run_dir)), tiny.data())
    assert not (tmp_path / "later").exists()
