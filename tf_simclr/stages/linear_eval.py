"""Linear evaluation: a logistic regression on frozen features of one layer."""

from absl import logging

from tf_simclr.data.labels import draw_labels
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extract
from tf_simclr.evaluation.linear_probe import fit_logistic
from tf_simclr.stages import setup
from tf_simclr.stages.evaluate import finish_classifier
from tf_simclr.training.checkpoints import restore_network, save_network


def run(config, data=None):
    """Fits a classifier on the features of the labels in use; encoder and head stay as they are.

    Every image passes through the network once; the regression runs on the cached features. The run that results holds the frozen
    network with that classifier, so that it is evaluated and exported like any other.

    Returns:
      dict: see `evaluate.finish_classifier`; also l2, the weight penalty used.
    """
    clock = setup.Clock()
    parent = setup.required_parent(config, ("pretrain",))
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    setup.need_labels(data.train, config)
    setup.need_evaluation(data, config)
    settings, spec = config.linear_eval, setup.spec_of(parent, config)
    setup.check_selector(settings.selector, spec)
    labelled = draw_labels(data.train.labels, data.train.class_names, config.data)
    run = setup.open_run(config, data, spec, settings.selector, data.train.class_names, labelled, parent)
    if (result := setup.finished(run, clock)) is not None:
        return result
    source = data.train.take(labelled)
    network = setup.build_network(spec, settings.selector, len(source.class_names), config.seed)
    restore_network(parent.weights, network, classifier=False)
    features = extract(network, plain_batches(source, spec=spec, batch_size=config.eval_batch_size))["features"][-1]
    weights, bias, l2 = fit_logistic(features, source.labels, len(source.class_names), settings.l2)
    logging.info("logistic regression on %d features of %d images, weight penalty %g", features.shape[1], len(source), l2)
    network.classifier.kernel.assign(weights)
    network.classifier.bias.assign(bias)
    if run.writes:
        save_network(run.checkpoints, network)
    return finish_classifier(network, data, config, run, clock, labels=len(labelled), l2=float(l2))
