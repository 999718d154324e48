"""Pretrains on the bundled images of Fashion-MNIST, and scores what that taught on others of the full *training* set.

    python tools/score_pretraining.py --source /usr/share/datasets/fashion-mnist \\
        --flagfile=flags/quickstart.flags --pretrain_temperature=0.7 --run_dir=runs/score/t7

The score is the accuracy of a logistic regression from ten labels of every class, mean over draws, for every layer that it may start
from. Few labels on few images tell settings apart by chance; many draws on 10,000 images do by half a point. The test set is not
touched. `--methods=finetune,self_distill` also runs these, and what they start from, and prints the pipeline's table: strong crops gain
more by fine-tuning than weak ones. All other arguments are those of `tf-simclr`; a run that is there already is scored as it is.
"""

import argparse
import pathlib
import statistics
import sys

import numpy as np
from make_fashion_mnist_8k import PER_CLASS, first_of_every_class

import tf_simclr
from tf_simclr import cli
from tf_simclr.errors import UsageError

L2 = 0.01  # weight penalty of the regression


def split(source, per_class, scored, rest=False):
    """`Data` of the first `per_class` images of every class, which are those that are bundled, and for evaluation of the next `scored`.
    With `rest` it trains on all that are not for evaluation."""
    labels = np.asarray(source.labels)
    train = first_of_every_class(labels, per_class)
    others = np.setdiff1d(first_of_every_class(labels, per_class + scored), train)
    if rest:
        train = np.setdiff1d(np.arange(len(labels)), others)
    parts = (x for chosen in (train, others) for x in (source.images[chosen], labels[chosen]))
    return tf_simclr.from_arrays(*parts, class_names=source.class_names, allow_overlap=True)


def score(run_dir, data, draws):
    """Accuracies in percent: a list over the label draws 1 to `draws` for each layer, the pooled features first."""
    from tf_simclr.config import DataConfig
    from tf_simclr.data.labels import draw_labels
    from tf_simclr.data.pipeline import plain_batches
    from tf_simclr.evaluation.features import extract
    from tf_simclr.evaluation.linear_probe import fit_logistic
    from tf_simclr.run_directory import RunDirectory
    from tf_simclr.stages.setup import load_network

    run = RunDirectory(run_dir)
    network, classes = load_network(run), len(data.train.class_names)
    layers = [extract(network, plain_batches(part, spec=run.spec(), batch_size=500))["features"] for part in (data.train, data.evaluation)]
    chosen = [
        draw_labels(data.train.labels, data.train.class_names, DataConfig(labels_per_class=10, label_seed=seed))
        for seed in range(1, draws + 1)
    ]

    def accuracy(train, others, indices):
        weights, bias, _ = fit_logistic(train[indices], data.train.labels[indices], classes, L2)
        return 100.0 * float(np.mean(np.argmax(others @ weights + bias, axis=1) == data.evaluation.labels))

    return [[accuracy(*of_layer, indices) for indices in chosen] for of_layer in zip(*layers)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="directory of the IDX files")
    parser.add_argument("--per_class", default=PER_CLASS["train"], type=int, help="images of every class that train [%(default)s]")
    parser.add_argument("--scored", default=1000, type=int, help="further ones of every class that are scored [%(default)s]")
    parser.add_argument("--rest", action="store_true", help="train on all images that are not scored")
    parser.add_argument("--draws", default=20, type=int, help="label draws [%(default)s]")
    parser.add_argument("--methods", default="", help="methods of the pipeline to run as well, with commas between them")
    arguments, flags = parser.parse_known_args(argv)
    stage = ["--stage=pipeline", f"--methods={arguments.methods}"] if arguments.methods else ["--stage=pretrain"]
    config = cli.parse([*flags, *stage, "--pretrain_probe_every=0"])
    if arguments.draws < 1:
        raise UsageError(f"--draws must be at least 1, got {arguments.draws}; give more")
    if not config.run_dir:
        raise UsageError("--run_dir must be given, got none; name the directory of the pretraining")
    cli.prepare()
    from tf_simclr.data import idx

    data = split(idx.read(arguments.source, "train"), arguments.per_class, arguments.scored, arguments.rest)
    tf_simclr.run(config, data)
    run_dir = pathlib.Path(config.run_dir, "pretrain" if arguments.methods else "")
    if not run_dir.is_dir():  # the baseline alone needs no pretraining
        return
    for layer, accuracies in enumerate(score(run_dir, data, arguments.draws)):
        name = f"head layer {layer}" if layer else "pooled features"
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(f"{name:16s} {statistics.mean(accuracies):6.2f} ± {spread:4.2f} % over {arguments.draws} draws")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"score_pretraining.py: error: {error}")
