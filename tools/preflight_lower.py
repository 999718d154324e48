"""Inside .venv-tf221, for `preflight.py` and `accelerator_step.py`: the training step of a recipe to serialised HLO, in
DIRECTORY/step.hlo and facts.json.

preflight_lower.py DIRECTORY TRAINING REPLICAS [flags of tf-simclr]
"""

import collections
import dataclasses
import json
import pathlib
import re
import sys

import numpy as np

from tf_simclr import cli
from tf_simclr.config import replace
from tf_simclr.errors import UsageError

# XLA leaves them out: they compute nothing and only raise errors.
DROPPED = ("CheckNumerics", "Assert")


def lower(directory, name, replicas, flags):
    """Writes step.hlo (where the step lowers) and facts.json."""
    config = cli.parse(flags)
    cli.prepare()

    from tf_simclr.planning.plan import describe, plan_training
    from tf_simclr.planning.recipe import Problem, trainings
    from tf_simclr.planning.step import make_step
    from tf_simclr.stages import setup

    if config.precision == "auto":
        config = replace(config, precision="mixed_bfloat16")  # which the machines that a step is lowered for have
    if config.model.image_size and not config.images:
        config = replace(config, images=config.pretrain.batch_size)  # a step does not depend on how many there are
    found = {training.name: training for training in trainings(config, Problem.of(config))}
    if name not in found:
        raise UsageError(
            f"--training must be among those of the recipe, {', '.join(found)}, got {name!r}; give --classes for those with labels,"
            " or --methods that have it"
        )
    training = found[name]
    setup.check_fit(training.fit, replicas)
    if name == "pretrain":
        setup.check_micro_batch(training.fit, replicas)
    batch_size = training.fit.batch_size // replicas
    # As on one replica with --jit: with --strategy=tpu the model is not marked as compiled, and its gradients would be those for a CPU.
    step, signature = make_step(training, batch_size, replace(config, jit=True, strategy="one", tpu=""))
    facts = {"training": name, "batch_size": batch_size, "precision": config.precision, "network": describe(training.spec)}
    facts |= lower_step(step, signature, directory)
    # Last: what counts FLOPs builds the network in a graph of its own, and Keras lets no other step be traced after that.
    planned = plan_training(training)
    facts |= {"flops": batch_size * planned["step_flops"], "parameters": planned["parameters"]}
    facts |= {"model": dataclasses.asdict(training.spec), "temperature": getattr(training.fit, "temperature", None)}
    (directory / "facts.json").write_text(json.dumps(facts))


def lower_step(step, signature, directory):
    """Writes step.hlo, where the step (a compiled `tf.function`) lowers.

    Returns:
      dict: ops (how many), dropped (those that XLA leaves out, with their number), not_lowered (names of operations that it cannot lower)
      and variables (name, mean and standard deviation of each, in the order in which they follow the batch as arguments).
    """
    concrete = step.get_concrete_function(*signature)
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    counts = collections.Counter(node.op for node in nodes)
    facts = {"ops": len(nodes), "dropped": {op: counts[op] for op in DROPPED if counts[op]}, "not_lowered": []}
    facts["variables"] = [
        {"name": v.name, "mean": float(np.mean(v)), "std": float(np.std(v, dtype=np.float64))} for v in captured_variables(concrete)
    ]
    try:
        hlo = step.experimental_get_compiler_ir(*signature)(stage="hlo_serialized", platform_name="CPU")
        (directory / "step.hlo").write_bytes(hlo)
    except ValueError as error:
        # "Detected unsupported operations …: StringFormat (No registered 'StringFormat' OpKernel …), …"
        facts["not_lowered"] = sorted(set(re.findall(r"(\w+) \(No registered", str(error)))) or [" ".join(str(error).split())[:300]]
    return facts


def captured_variables(concrete):
    """The variables of a traced function in the order in which it takes them."""
    known = {id(v.handle): v for v in concrete.graph.variables}
    return [known[id(handle)] for handle in concrete.captured_inputs]


if __name__ == "__main__":
    try:
        lower(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
