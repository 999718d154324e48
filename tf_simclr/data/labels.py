"""Label subsets: which images' labels a run may use."""

import numpy as np

from tf_simclr.errors import UsageError


def draw_labels(labels, class_names, config):
    """Chooses labelled examples by MixMatch's protocol (Berthelot et al. 2019, arXiv 1905.02249, and its released splits).

    The generator is seeded once; for every class in order the list of its indices is shuffled; examples are then taken round-robin
    over the classes. So a subset is balanced, it is the same for one seed everywhere, and a smaller subset of one seed is the
    beginning of a larger one. (For classes of unequal size MixMatch takes them in proportion; here they stay balanced.)

    Args:
      labels: int [N] in [0, K), -1 for images without a label.
      class_names: K names.
      config: a `DataConfig`: at most one of labels_per_class, num_labels, label_fraction, and label_seed.

    Returns:
      int64 [M] indices in the protocol's order; all labelled ones in their own order where nothing is limited. A fraction is rounded
      to the same whole number, at least one, in every class; `num_labels` that is no multiple of K leaves the last round unfinished.

    Raises:
      UsageError: no labels, fewer labels than classes, or a class with too few examples.
    """
    if labels is None:
        raise UsageError("label subsets need labels, got images without labels")
    labelled, num_classes = np.flatnonzero(labels >= 0), len(class_names)
    wanted = count(len(labelled), num_classes, config)
    if wanted is None:
        return labelled
    if wanted < num_classes:
        raise UsageError(f"num_labels must be at least the number of classes, {num_classes}, got {wanted}")
    shares = [len(range(number, wanted, num_classes)) for number in range(num_classes)]
    random = np.random.RandomState(config.label_seed)
    chosen = np.empty(wanted, np.int64)
    for number, share in enumerate(shares):
        members = np.flatnonzero(labels == number)
        if len(members) < share:
            raise UsageError(
                f"{share} labels of every class are asked for, got {len(members)} images of class {class_names[number]};"
                " ask for fewer labels"
            )
        random.shuffle(members)
        chosen[number::num_classes] = members[:share]
    return chosen


def count(examples, num_classes, config):
    """How many labels the settings ask for, of so many labelled examples; None for all."""
    if config.labels_per_class:
        return config.labels_per_class * num_classes
    if config.num_labels:
        return config.num_labels
    if config.label_fraction in (0.0, 1.0):
        return None
    return max(1, round(config.label_fraction * examples / num_classes)) * num_classes
