"""Fine-tuning from a middle layer of the projection head; without a pretrained run, the supervised baseline."""

from tf_simclr.data.labels import draw_labels
from tf_simclr.stages import replicas, setup
from tf_simclr.stages.evaluate import finish_classifier
from tf_simclr.training.checkpoints import restore_network
from tf_simclr.training.fit import Duration, train
from tf_simclr.training.models import SupervisedModel


def run(config, data=None):
    """Trains on the labels in use.

    Returns:
      dict: see `evaluate.finish_classifier`.
    """
    clock = setup.Clock()
    parent = setup.parent_of(config, ("pretrain",))
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    setup.need_labels(data.train, config)
    setup.need_evaluation(data, config)
    fit = config.finetune if parent else config.supervised
    spec = setup.architecture(config, data.train, parent)
    setup.check_selector(fit.selector, spec)
    strategy = replicas.make_strategy(config)
    setup.check_fit(fit, strategy.num_replicas_in_sync)
    labelled = draw_labels(data.train.labels, data.train.class_names, config.data)
    run = setup.open_run(config, data, spec, fit.selector, data.train.class_names, labelled, parent)
    if (result := setup.finished(run, clock)) is not None:
        return result
    source = data.train.take(labelled)
    with strategy.scope():
        network = setup.build_network(spec, fit.selector, len(source.class_names), config.seed, config.precision)
        if parent:
            restore_network(parent.weights, network, classifier=False)
        model = SupervisedModel(network)
        train(model, fit, Duration.of(fit, len(source)), setup.batches_of(source, spec, fit, config), {"": source}, run, config)
    return finish_classifier(network, data, config, run, clock, labels=len(labelled))
