"""Where a run computes: one device, all local ones, many processes, or a TPU; and which process writes."""

import contextlib
import functools
import json
import os
import socket
import threading
import urllib.parse

import tensorflow as tf

from tf_simclr.errors import UsageError, WorkerLostError

# A TPU that does not answer would be waited for much longer: TensorFlow asks again and again.
_SECONDS_TO_FIND, _SECONDS_TO_START = 15, 120
# What the others see of a worker that is gone; what else TensorFlow says is of this one.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
_TRAINING = ("pretrain", "finetune", "distill", "pipeline")  # the others leave a TPU alone


def make_strategy(config):
    """The replicas that `--strategy` names.

    1. tpu, or auto where `--tpu` is given: the cores of that TPU. Images are decoded and augmented on its host.
    2. multiworker, or auto where TF_CONFIG names several processes: one process per machine, this one among them.
    3. mirrored, or auto with several GPUs: all local devices.
    4. else one device.

    Raises:
      UsageError: TF_CONFIG is missing or is not a cluster with this process in it; the TPU cannot be used; `--jit` with many replicas.
    """
    strategy = _named(config)
    if config.jit and strategy.num_replicas_in_sync > 1 and not config.on_tpu:
        raise UsageError(f"--jit compiles the step of one replica, got {strategy.num_replicas_in_sync}; drop --jit, or give --strategy=one")
    return strategy


def _named(config):
    if config.on_tpu:
        return _tpu(config.tpu, config.tpu_zone, config.gcp_project)
    if are_many(config):
        return _multiworker()
    gpus, cpus = tf.config.list_logical_devices("GPU"), tf.config.list_logical_devices("CPU")
    if config.strategy == "one" or (config.strategy == "auto" and len(gpus) < 2):
        return tf.distribute.get_strategy()
    return _mirrored(tuple(device.name for device in gpus or cpus))


def connect(config):
    """Joins the other workers or the TPU, where there are some. Must come before any operation, since it starts this process' server."""
    if config.on_tpu and config.stage in _TRAINING:
        _tpu(config.tpu, config.tpu_zone, config.gcp_project)
    elif are_many(config):
        _multiworker()


def is_chief():
    """Whether this process writes: the first of the workers, or the only one."""
    return not _joined() or _multiworker().cluster_resolver.task_id == 0


def alone():
    """Whether this process has no others to work with."""
    return not _joined()


def meet():
    """Waits until every worker is here."""
    if _joined():
        strategy = _multiworker()
        strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)


@contextlib.contextmanager
def losses_named():
    """Turns what TensorFlow says when another worker is gone into `WorkerLostError`."""
    try:
        yield
    except tf.errors.OpError as error:
        if alone() or not (isinstance(error, _LOST) or "ollective" in str(error)):
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise WorkerLostError(
            f"every worker must stay, but one is gone ({reason}); start all of them again with the same command"
        ) from error


def are_many(config):
    """Whether the settings, or TF_CONFIG where they leave it open, ask for several processes."""
    return config.strategy == "multiworker" or (config.strategy == "auto" and not config.tpu and _processes(_tf_config()) > 1)


def _joined():
    return _multiworker.cache_info().currsize > 0


def _tf_config():
    """TF_CONFIG as a dict, empty where there is none."""
    try:
        return dict(json.loads(os.environ.get("TF_CONFIG") or "{}"))
    except (TypeError, ValueError):
        raise UsageError("TF_CONFIG must be a JSON object with cluster and task, got something else; see docs/reliability.md") from None


def _processes(tf_config):
    cluster = tf_config.get("cluster", {})
    return sum(len(job) for job in cluster.values() if isinstance(job, (list, dict))) if isinstance(cluster, dict) else 0


@functools.cache
def _multiworker():
    given = _tf_config()
    task, cluster = (given.get(name) if isinstance(given.get(name), dict) else {} for name in ("task", "cluster"))
    workers, index = cluster.get("worker"), task.get("index")
    addresses = list(workers.values()) if isinstance(workers, dict) else workers if isinstance(workers, list) else []
    whole = set(cluster) == {"worker"} and addresses and all(isinstance(address, str) for address in addresses)
    if not whole or task.get("type") != "worker" or not isinstance(index, int) or not 0 <= index < len(addresses):
        raise UsageError(
            "--strategy=multiworker needs TF_CONFIG with cluster.worker, a list of host:port, and nothing else in cluster, and task with"
            f" type worker and its index, got {os.environ.get('TF_CONFIG') or 'none'}; set it for every process, or give --strategy=one"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache
def _mirrored(devices):
    """One strategy per process: the collective operations of a second one would meet those of the first."""
    on_cpu = all("CPU" in name for name in devices)
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice() if on_cpu else None)


@functools.cache
def _tpu(name, zone, project):
    """The strategy of a TPU, which is started afresh: one per process."""
    try:
        resolver = _within(_SECONDS_TO_FIND, lambda: _find(name, zone, project))
        _within(_SECONDS_TO_START, lambda: _start(resolver, remote=name != "local"))
    except (OSError, RuntimeError, ValueError, ImportError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        advice = (
            "run on a TPU VM, with a TensorFlow built for TPUs (the package tensorflow-tpu)"
            if name == "local"
            else "see that it is running and in that zone and project, or run on the TPU VM with --tpu=local"
        )
        raise UsageError(f"--tpu must be a TPU that can be reached, got {name}: {reason}; {advice}") from error
    return tf.distribute.TPUStrategy(resolver)


def _find(name, zone, project):
    """The resolver of a TPU, once something listens at its address."""
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name, zone=zone or None, project=project or None)
    address = urllib.parse.urlsplit(resolver.master())  # a name is looked up here
    if address.scheme == "grpc":
        socket.create_connection((address.hostname, address.port), timeout=_SECONDS_TO_FIND).close()
    return resolver


def _start(resolver, remote):
    if remote:
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)


def _within(seconds, action):
    """What an action returns or raises. Raises TimeoutError where it takes longer: what it waits for cannot be called back."""
    outcome = {}

    def attempt():
        try:
            outcome["value"] = action()
        except Exception as error:
            outcome["error"] = error

    thread = threading.Thread(target=attempt, daemon=True)  # does not keep the process alive
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds} s")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
