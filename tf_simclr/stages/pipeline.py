"""The whole procedure in one run: pretrain once, then every method on every label draw, compared in one table; then export.

With an earlier pretraining to start from, that takes the place of its own.

Every step is a run directory of its own below this one, so that a pipeline that stopped goes on where it stopped.
"""

import dataclasses
import pathlib

import tensorflow as tf
from absl import logging

from tf_simclr import shipped, stages
from tf_simclr.config import STUDENT, FitConfig, ModelConfig, StudentConfig, replace
from tf_simclr.data.decode import read
from tf_simclr.data.labels import draw_labels
from tf_simclr.data.storage import Files
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.comparison import format_table, summarise, write_comparison
from tf_simclr.export.saved_model import usage_line
from tf_simclr.models.backbones import check_backbone
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import replicas, setup

# method: its stage, whose run it starts from, and its section of the settings.
METHODS = {
    "supervised": ("finetune", None, "supervised"),
    "linear_eval": ("linear_eval", "pretrain", "linear_eval"),
    "finetune": ("finetune", "pretrain", "finetune"),
    "finetune_shipped": ("finetune", "shipped", "finetune"),
    "self_distill": ("distill", "finetune", "distill"),
    "student": ("distill", "self_distill", "student"),
}


def run(config, data=None):
    """Runs the methods that `config.methods` names, each on every one of `config.label_seeds`, and what they start from.

    The label seed is also the seed of weights, order and views of a method, so that the spread over seeds covers both.

    Returns:
      dict: rows (see `evaluation.comparison.summarise`), export (directory; of the last method, first label seed), seconds of this process.
    """
    clock = setup.Clock()
    parent = setup.parent_of(config, ("pretrain",))
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    spec, plan = setup.architecture(config, data.train, parent), steps(config)
    _check(config, data, spec, plan)
    run = setup.open_run(config, data, spec, config.finetune.selector, parent=parent)
    if (result := setup.finished(run)) is not None:
        _tell(config, data, run, result)
        return result
    results = {}
    for number, (method, seed) in enumerate(plan, start=1):
        logging.info("pipeline, %d of %d: %s%s", number, len(plan), method, "" if seed is None else f", label seed {seed}")
        results[method, seed] = stages.run(_settings(config, spec, run.path, method, seed), data)
    rows = _rows(results)

    def make_result():
        write_comparison(run.report, rows)
        method, seed = _exported(config)
        start = str(_home(run.path, method, seed))
        exporting = replace(config, stage="export", from_run=start, run_dir=str(run.export), model=ModelConfig())  # whichever it has
        stages.run(exporting, data)
        return {"rows": rows, "export": str(run.export), "seconds": clock.seconds()}

    result = setup.conclude(run, make_result)
    if run.writes:
        _tell(config, data, run, result)
    return result


def _tell(config, data, run, result):
    """Prints the table, where to look, and the line that uses the export."""
    print(format_table(result["rows"]))
    print(f"\nTable and bar chart: {run.report}\nTo classify an image with the exported {_exported(config)[0]}:")
    print(usage_line(run.export, _sample(data.evaluation, run.report)))


def _sample(source, directory):
    """The path of an evaluation image as a file: its own, if a terminal can show it and an export reads it, or a copy in the report."""
    if source.images is not None:
        pixels = source.images[0]
    else:
        if isinstance(source.storage, Files) and source.encoded[0].isprintable() and source.facts["format"][0] != "WEBP":
            return source.encoded[0]
        pixels = read(source.storage.load(source.encoded[0]), source.channels, pillow=True)
    path = directory / "sample.png"
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path


def steps(config):
    """What a pipeline runs, in order: a list of (method, label seed), pretrain with None for a seed. What a method starts from comes
    before it."""
    wanted = set(config.method_names)
    for method in reversed(METHODS):
        if method in wanted and METHODS[method][1] in METHODS:
            wanted.add(METHODS[method][1])
    pretrains = not config.from_run and any(METHODS[method][1] == "pretrain" for method in wanted)
    plan = [("pretrain", None)] if pretrains else []
    return plan + [(method, seed) for method in METHODS if method in wanted for seed in config.label_seed_list]


def _check(config, data, spec, plan):
    """Everything that would stop a later step, asked before the first one."""
    methods = list(dict.fromkeys(method for method, seed in plan if seed is not None))
    if not methods:
        raise UsageError("--methods must name at least one method, got none")
    if config.from_run and not any(METHODS[method][1] == "pretrain" for method in methods):
        raise UsageError(f"none of --methods={config.methods} starts from --from={config.from_run}; add finetune, say, or leave --from out")
    setup.need_labels(data.train, config)
    setup.need_evaluation(data, config)
    for method in methods:
        section = METHODS[method][2]
        kept = RunDirectory(shipped.locate(shipped.PREFIX + config.shipped)).spec() if method == "finetune_shipped" else spec
        setup.check_selector(getattr(config, section).selector, kept, f"{section}_selector")
    if "self_distill" in methods and config.distill.selector >= 0:
        setup.check_init(config.distill, config.distill.selector, config.finetune.selector)
    check_backbone(config.student)
    if "student" in methods and not config.student.is_another:
        raise UsageError(
            "the method student needs an architecture: give --student_width, --student_depth or --student_backbone,"
            " or leave it out of --methods"
        )
    for seed in config.label_seed_list:
        draw_labels(data.train.labels, data.train.class_names, replace(config, data__label_seed=seed).data)
    _check_trainings(config, data, plan)


def _check_trainings(config, data, plan):
    """What a training would stop at, of those that are still to do."""
    root, count = config.run_dir or setup.default_home(config), replicas.make_strategy(config).num_replicas_in_sync
    pending = dict.fromkeys(method for method, seed in plan if RunDirectory(_home(root, method, seed)).result is None)
    for section in (METHODS[method][2] if method in METHODS else method for method in pending):
        fit = getattr(config, section)
        if isinstance(fit, FitConfig):
            setup.check_fit(fit, count, len(data.train) if section == "pretrain" else None, section)
    if "pretrain" in pending:
        setup.check_micro_batch(config.pretrain, count)


def _home(root, method, seed):
    return pathlib.Path(root) / (method if seed is None else f"{method}_{seed}")


def _settings(config, spec, root, method, seed):
    """The `Config` of one step of the plan; spec is the architecture that all but a student have."""
    if seed is None:
        return replace(config, stage="pretrain", run_dir=str(_home(root, method, seed)))
    stage, parent, _ = METHODS[method]
    if parent == "pretrain":
        start = config.from_run or str(_home(root, parent, None))
    elif parent == "shipped":
        # Its architecture is its own, whatever is pretrained here.
        start, config = shipped.PREFIX + config.shipped, replace(config, model=ModelConfig())
    else:
        start = "" if parent is None else str(_home(root, parent, seed))
    if not start and config.from_run:
        # The baseline has the network of the earlier run. As a setting, a head has a layer at least, and the selector of fine-tuning, which
        # is not read here, must be one of its layers.
        model = dataclasses.replace(spec, head_layers=max(1, spec.head_layers))
        config = replace(config, model=model, finetune__selector=0)
    # Only the method `student` has another architecture than its teacher.
    student = {} if method == "student" else {f"student__{name}": getattr(StudentConfig, name) for name in STUDENT}
    return replace(config, stage=stage, from_run=start, run_dir=str(_home(root, method, seed)), seed=seed, data__label_seed=seed, **student)


def _rows(results):
    rows = []
    for method in METHODS:
        of_method = {seed: result for (name, seed), result in results.items() if name == method}
        if of_method:
            first = next(iter(of_method.values()))
            accuracies = {str(seed): result["accuracy"] for seed, result in of_method.items()}
            seconds = sum(result["seconds"] for result in of_method.values())
            rows.append(summarise(method, first["labels"], first["parameters"], accuracies, seconds))
    return rows


def _exported(config):
    """The method and label seed whose network is exported: the last method, the first seed."""
    last = [method for method in METHODS if method in config.method_names][-1]
    return last, config.label_seed_list[0]
