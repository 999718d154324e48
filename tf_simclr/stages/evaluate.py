"""Scores a run's classifier: JSON, Markdown and a picture."""

from absl import logging
from scipy.special import softmax

from tf_simclr import lock
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extract
from tf_simclr.evaluation.metrics import score
from tf_simclr.evaluation.report import write_report
from tf_simclr.run_directory import make_directory
from tf_simclr.stages import setup

CLASSIFIERS = ("finetune", "linear_eval", "distill")


def run(config, data=None):
    """Evaluates the run that `--from` names and writes the report there, or into `--run_dir`.

    Returns:
      dict of scores, see `score_network`.
    """
    parent = setup.required_parent(config, CLASSIFIERS)
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    network = setup.load_finished(parent, config)
    setup.check_classes(setup.need_evaluation(data, config), parent)
    directory = setup.RunDirectory(config.run_dir).report if config.run_dir else parent.report
    make_directory(directory)
    lock.acquire(directory.parent)
    scores = score_network(network, data.evaluation, config)
    write_report(directory, scores, str(parent.path))
    logging.info("%.2f %% of %d images right; report in %s", 100 * scores["top1"], scores["images"], directory)
    return scores


def score_network(network, source, config):
    """Scores of a classifier on evaluation images, see `evaluation.metrics.score`; and split, what they are: test or holdout."""
    logits = extract(network, plain_batches(source, spec=network.spec, batch_size=config.eval_batch_size))["logits"]
    return {**score(softmax(logits, axis=1), source.labels, source.class_names), "split": config.data.eval_on}


def finish_classifier(network, data, config, run, clock, labels, **facts):
    """Evaluates a trained classifier, writes its report and marks the run as finished.

    Returns:
      dict: accuracy in percent, labels (images whose labels were used), parameters (moving statistics included), seconds.
    """

    def make_result():
        # What many workers trained has variables that are read by all of them together; only this one is here. And what was trained in
        # another precision is used in float32 by all that comes after.
        alone = network if run.alone and network.compute_dtype == "float32" else setup.load_network(run)
        scores = score_network(alone, data.evaluation, config)
        write_report(run.report, scores, f"{config.stage}: {run.path}")
        logging.info("%.2f %% of %d images right; report in %s", 100 * scores["top1"], scores["images"], run.report)
        parameters = sum(int(v.shape.num_elements()) for v in network.variables)
        return {"accuracy": 100 * scores["top1"], "labels": labels, "parameters": parameters, "seconds": clock.seconds(), **facts}

    return setup.conclude(run, make_result)
