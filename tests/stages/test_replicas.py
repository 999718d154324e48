"""What TF_CONFIG may say, and what becomes of errors where there are other workers."""

import pytest
import tensorflow as tf

from tf_simclr.config import Config, replace
from tf_simclr.errors import UsageError, WorkerLostError
from tf_simclr.stages import replicas


@pytest.mark.parametrize(
    "given",
    [
        "[1]",
        "5",
        '{"cluster": {"worker": 5}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": 3}',
        '{"cluster": {"chief": ["b:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_that_is_none(monkeypatch, given):
    monkeypatch.setenv("TF_CONFIG", given)
    with pytest.raises(UsageError, match="TF_CONFIG") as raised:
        replicas.make_strategy(replace(Config(), strategy="multiworker"))
    assert "\n" not in str(raised.value)
    if "chief" in given:  # two processes, which must not train apart in silence
        with pytest.raises(UsageError, match="nothing else in cluster"):
            replicas.make_strategy(Config())


def test_what_tensorflow_says_of_another_worker(monkeypatch):
    monkeypatch.setattr(replicas, "alone", lambda: False)
    for error, kind in (
        (tf.errors.UnavailableError(None, None, "Connection reset by peer"), WorkerLostError),
        (tf.errors.InternalError(None, None, "Collective ops is aborted by: an image is gone"), WorkerLostError),
        (tf.errors.NotFoundError(None, None, "img3.png; No such file or directory"), tf.errors.NotFoundError),
    ):
        with pytest.raises(kind, match=str(error.message).split(";")[0]), replicas.losses_named():
            raise error
