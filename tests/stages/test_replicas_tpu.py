"""`--strategy=tpu` without a TPU: settings that cannot be, TPUs that do not answer, and, with stand-ins, one that does."""

import contextlib
import socket
import threading
import time

import pytest
import tensorflow as tf
import tiny

from tf_simclr.cli import parse
from tf_simclr.config import Config, replace
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import check_path
from tf_simclr.stages import pretrain, replicas

REMOTE = ("--tpu=my-tpu", "--run_dir=gs://bucket/run")


@pytest.fixture(autouse=True)
def fresh():
    replicas._tpu.cache_clear()
    yield
    replicas._tpu.cache_clear()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--strategy=tpu"], "strategy tpu needs tpu, got none"),
        (["--tpu=My TPU"], "tpu must be local, a name as my-tpu, or an address as grpc://10.0.0.2:8470, got 'My TPU'"),
        (["--tpu=grpc://10.0.0.2"], "tpu must be local"),
        (["--tpu=http://10.0.0.2:8470"], "tpu must be local"),
        (["--tpu=local", "--strategy=mirrored"], "tpu needs strategy tpu or auto, got mirrored"),
        (["--tpu=my-tpu"], "run_dir must be gs://…, got runs/"),
        (["--tpu=my-tpu", "--run_dir=here"], "run_dir must be gs://…, got here"),
        ([*REMOTE, "--data_dir=/images"], "data_dir must be gs://…, got /images"),
        ([*REMOTE, "--eval_data_dir=/images", "--strategy=tpu"], "eval_data_dir must be gs://…, got /images"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_asked(flags, words):
    with pytest.raises(UsageError) as refused:
        parse(flags)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_settings_that_can_be():
    assert parse([*REMOTE, "--data_dir=gs://bucket/data"]).on_tpu
    assert parse(["--tpu=local", "--data_dir=/images", "--run_dir=here"]).on_tpu
    assert parse(["--strategy=tpu", "--tpu=grpc://10.0.0.2:8470", "--run_dir=gs://bucket/run"]).on_tpu
    assert not Config().on_tpu


def test_a_bucket_is_not_taken_for_a_local_directory():
    with pytest.raises(UsageError, match="must be on a file system of this machine, got gs://bucket/run"):
        check_path("gs://bucket/run")


def refusal(tpu):
    """What is said about a TPU, and after how many seconds."""
    start = time.perf_counter()
    with pytest.raises(UsageError) as refused:
        replicas.make_strategy(replace(Config(), tpu=tpu, run_dir="gs://bucket/run"))
    assert "\n" not in str(refused.value)
    return str(refused.value), time.perf_counter() - start


def test_an_address_where_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said, seconds = refusal(f"grpc://127.0.0.1:{port}")
    assert "refused" in said and seconds < 5


def test_no_tpu_in_this_machine(monkeypatch):
    # The real attempt; but for it, TensorFlow would drop the devices that other tests use.
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", _no_tpu)
    said, _ = refusal("local")
    assert "TPUs not found in the cluster" in said and "tensorflow-tpu" in said


def _no_tpu(resolver):
    raise tf.errors.NotFoundError(None, None, "TPUs not found in the cluster.\nFailed in initialization")


def test_an_attempt_is_bounded(monkeypatch):
    monkeypatch.setattr(replicas, "_SECONDS_TO_FIND", 0.2)
    never = threading.Event()
    monkeypatch.setattr(replicas, "_find", lambda *_: never.wait())
    said, seconds = refusal("my-tpu")
    never.set()
    assert "no answer within 0.2 s" in said and "zone" in said and seconds < 5


class Resolver:
    """Stands in for TPUClusterResolver: a TPU at an address, which is looked up by name, zone and project."""

    asked = []

    def __init__(self, tpu, zone, project):
        self.asked.append((tpu, zone, project))

    def master(self):
        return f"grpc://127.0.0.1:{self.port}"


@pytest.fixture
def stand_in(monkeypatch, two_replicas):
    """A TPU of two cores that answers; the list says what was asked of it, in order."""
    asked = []
    monkeypatch.setattr(Resolver, "asked", asked)
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", Resolver)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda resolver: asked.append("connect"))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda resolver: asked.append("initialize"))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: two_replicas)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setattr(Resolver, "port", server.getsockname()[1], raising=False)
        yield asked


def test_a_tpu_is_found_by_name_zone_and_project_and_started_once(stand_in, two_replicas):
    config = replace(Config(), tpu="my-tpu", tpu_zone="zone-b", gcp_project="mine", run_dir="gs://bucket/run")
    replicas.connect(config)
    assert replicas.make_strategy(config) is two_replicas
    assert stand_in == [("my-tpu", "zone-b", "mine"), "connect", "initialize"]


def test_a_local_tpu_is_not_connected_to(stand_in, monkeypatch):
    monkeypatch.setattr(Resolver, "master", lambda self: "")
    replicas.make_strategy(replace(Config(), tpu="local", strategy="tpu"))
    assert stand_in == [("local", None, None), "initialize"]


def test_stages_that_do_not_train_leave_the_tpu_alone(stand_in):
    replicas.connect(replace(Config(), tpu="local", stage="plan"))
    assert stand_in == []


def test_a_batch_must_divide_over_the_cores(stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(Resolver, "master", lambda self: "")
    settings = tiny.settings("pretrain", tmp_path / "run", tpu="local", pretrain__batch_size=9)
    with pytest.raises(UsageError, match="--batch_size must be a multiple of the 2 replicas, got 9"):
        pretrain.run(settings, tiny.data())
