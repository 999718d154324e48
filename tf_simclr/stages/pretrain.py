"""Pretraining: contrastive learning without labels (paper, section 2), from random weights or from those of an earlier pretraining."""

from absl import logging

from tf_simclr.evaluation.online import probe
from tf_simclr.objectives.memory import Memory
from tf_simclr.stages import replicas, setup
from tf_simclr.training.callbacks import Probe
from tf_simclr.training.checkpoints import restore_network
from tf_simclr.training.fit import Duration, train
from tf_simclr.training.models import ContrastiveModel


def run(config, data=None):
    """Trains encoder and projection head on the images alone; labels, where there are any, are only looked at to report.

    Returns:
      dict: seconds, and the last epoch's metrics (loss, chance_loss, contrastive_top1, h_std, …; knn and linear_probe with labels).
    """
    clock = setup.Clock()
    parent = setup.parent_of(config, ("pretrain",))
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    fit, spec = config.pretrain, setup.architecture(config, data.train, parent, new_head=True)
    strategy = replicas.make_strategy(config)
    setup.check_fit(fit, strategy.num_replicas_in_sync, len(data.train))
    setup.check_micro_batch(fit, strategy.num_replicas_in_sync)
    run = setup.open_run(config, data, spec, spec.head_layers, parent=parent)
    if (result := setup.finished(run, clock)) is not None:
        return result
    unlabelled = data.train.without_labels()
    duration = Duration.of(fit, len(unlabelled))
    with strategy.scope():

        def build():
            return setup.build_network(spec, spec.head_layers, 0, config.seed, config.precision)

        network = build()
        if parent:
            restore_network(parent.weights, network, head=parent.spec().head_layers > 0)
        model = contrastive_model(network, fit, build)
        callbacks = []
        wanted = fit.probe_every and data.train.labels is not None
        if wanted and data.evaluation is None:
            logging.info("without images to score on there is no k-NN and no linear probe meanwhile; --eval_on=holdout sets some aside")
        elif wanted:
            measure = probe(network, data, config.eval_batch_size)
            callbacks.append(
                Probe(measure, max(1, round(fit.probe_every * len(unlabelled) / fit.batch_size / duration.per_epoch)), duration.epochs)
            )
        batches = setup.batches_of(unlabelled, spec, fit, config, view_count=2, at_a_time=fit.micro_batch_size)
        metrics = train(model, fit, duration, batches, {"": unlabelled}, run, config, callbacks)
    result = setup.conclude(run, lambda: {"seconds": clock.seconds(), "steps": duration.total, **metrics})
    logging.info("pretrained on %d images in %.0f s; next: --stage=finetune --from=%s", len(unlabelled), result["seconds"], run.path)
    return result


def contrastive_model(network, fit, build):
    """The `ContrastiveModel` of a `PretrainConfig`; where it asks for a memory, `build` makes the average network, whatever its weights."""
    memory = Memory(build(), network, fit.ema, fit.queue) if fit.queue else None
    return ContrastiveModel(network, fit.temperature, fit.micro_batch_size, memory)
