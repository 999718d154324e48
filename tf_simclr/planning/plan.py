"""What the trainings of a recipe take: FLOPs, memory and hours, on accelerators that nobody needs to have."""

from tf_simclr.planning.accelerators import ACCELERATORS, CHIPS
from tf_simclr.planning.cost import network_cost

_SLOTS = {"lars": 1, "sgd": 1, "adamw": 2, "lamb": 2}
_EXAMPLE = 2  # numbers of four bytes that say which image a projection in the queue is of
_BACKWARD = 3  # a training step takes three times the forward pass: forward, and the gradients of activations and of weights


def plan_training(training, precision="float32"):
    """What a `Training` takes, whatever it runs on.

    Args:
      training: a `Training`.
      precision: float32, mixed_bfloat16 or mixed_float16.

    Returns:
      dict: name, network, parameters, forward_flops (of one image, one view), step_flops (for every image of a batch: all passes forward
      and backward, a further pass forward of micro-batches, and those of a teacher and of a memory's network), batch_size, at_a_time
      (images of a micro-batch, 0: all of a replica's), steps, runs (of it in the recipe, one for every label seed), fixed_bytes (weights,
      gradients, optimizer slots, teacher, memory), image_bytes (activations of one image in a step), waiting_bytes (of one image while
      others of its batch pass).
    """
    cost = network_cost(training.spec, training.head_layers, training.classes)
    taught = network_cost(*training.teacher, training.classes) if training.teacher else None
    fit, passes = training.fit, training.passes
    at_a_time, queue = (getattr(fit, name, 0) for name in ("micro_batch_size", "queue"))  # which pretraining has
    forward = passes * (bool(at_a_time) + bool(queue)) * cost.flops + (taught.flops if taught and fit.alpha > 0 else 0)
    kept = (1 + _SLOTS[fit.optimizer]) * cost.trainable + (taught.parameters if taught else 0)
    if queue:
        kept += cost.parameters + queue * (training.spec.head_dim + _EXAMPLE)
    return {
        "name": training.name,
        "network": describe(training.spec),
        "parameters": cost.parameters,
        "forward_flops": cost.flops,
        "step_flops": _BACKWARD * passes * cost.flops + forward,
        "batch_size": fit.batch_size,
        "at_a_time": at_a_time,
        "steps": training.steps,
        "runs": training.runs,
        "fixed_bytes": 4 * (cost.parameters + kept),
        "image_bytes": passes * cost.step_bytes(4 if precision == "float32" else 2),
        "waiting_bytes": 4 * passes * training.spec.image_size**2 * training.spec.channels if at_a_time else 0,
    }


def describe(spec):
    """An architecture in a few words."""
    kernels = " SK" if spec.sk else ""
    encoder = spec.backbone or f"ResNet-{spec.depth} ×{spec.width:g}{kernels}"
    return f"{encoder}, {spec.backbone_size or spec.image_size} px"


def on_accelerator(name, rows, utilisation, precision="float32"):
    """What the trainings take on a named accelerator: `on_machine` at a share of its peak.

    Args:
      name: of `ACCELERATORS`.
      rows: what `plan_training` returns, of every training.
      utilisation: share of the peak, in (0, 1].
      precision: float32, mixed_bfloat16 or mixed_float16.
    """
    kind, count = ACCELERATORS[name]
    chip = CHIPS[kind]
    return on_machine(name, rows, utilisation * count * chip.peak(precision), chip.memory / chip.replicas, chip.replicas * count)


def on_machine(name, rows, speed, memory, replicas=1):
    """What the trainings take on a machine.

    Args:
      name: what to call it.
      rows: what `plan_training` returns, of every training.
      speed: FLOP/s of all replicas together, in training.
      memory: bytes of one replica.
      replicas: among which a batch is divided.

    Returns:
      dict: name, replicas, replica_memory, replica_bytes (estimate, of the training that needs most), largest_batch (the largest global
      batch with which that training fits; 0 where none does), fits, hours (by training, of all its runs), total_hours.
    """

    def passing(row):
        part = -(-row["batch_size"] // replicas)
        return part, min(part, row["at_a_time"] or part)

    def need(row):
        part, at_a_time = passing(row)
        return row["fixed_bytes"] + row["image_bytes"] * at_a_time + row["waiting_bytes"] * part

    def largest(row):
        left, (_, at_a_time) = memory - row["fixed_bytes"], passing(row)
        if row["at_a_time"]:
            return (left - row["image_bytes"] * at_a_time) // row["waiting_bytes"] // at_a_time * at_a_time
        return left // row["image_bytes"]

    most = max(rows, key=need)
    hours = {row["name"]: row["step_flops"] * row["batch_size"] * row["steps"] * row["runs"] / speed / 3600 for row in rows}
    return {
        "name": name,
        "replicas": replicas,
        "replica_memory": memory,
        "replica_bytes": need(most),
        "largest_batch": max(0, int(largest(most))) * replicas,
        "fits": need(most) <= memory,
        "hours": hours,
        "total_hours": sum(hours.values()),
    }
