"""What a file of released weights is: a pretraining, or a fine-tuned network and on which layer its classifier sits."""

from tf_simclr.errors import UsageError
from tf_simclr.importing.names import Slot


def choose_stage(shapes, spec, pretrained, stage="auto", selector=-1):
    """Of which stage the run is, and how many head layers it keeps. By this precedence:

    1. what is asked for: a stage, or a selector, which only fine-tuning has;
    2. no classifier: pretrain; no projection head: finetune from the pooled features (selector 0);
    3. a SavedModel that returns its projection head's output: pretrain, with the probe that was trained beside it left out;
    4. finetune from the one layer whose width is the classifier's. Released heads are as wide as their encoder, so that often several
       layers are, and a probe beside pretraining has the names of a fine-tuned classifier: then the user must say.

    Args:
      shapes: dict from `Slot` to shape.
      spec: the `ModelConfig` read from them.
      pretrained: what the model says of itself, see `read.Weights`.
      stage, selector: what is asked for, 'auto' and -1 for nothing.

    Returns:
      (stage, selector).

    Raises:
      UsageError: the user must say, or what is asked for is not there.
    """
    classifier = shapes.get(Slot("classifier", 0, "kernel"))
    if stage == "auto" and selector < 0 and (classifier is None or (pretrained and spec.head_layers)):
        stage = "pretrain"
    if stage == "pretrain":
        if selector >= 0:
            raise UsageError(f"--selector is for --stage=finetune, got {selector} with --stage=pretrain; drop one of them")
        return stage, spec.head_layers
    if classifier is None:
        raise UsageError("--stage=finetune needs a classifier in the checkpoint, got none; import it with --stage=pretrain")
    fitting = [layer for layer, width in enumerate(_layer_widths(shapes, spec)) if width == classifier[0]]
    if not fitting or (selector >= 0 and selector not in fitting):
        raise UsageError(
            f"the classifier's {classifier[0]} inputs must be the width of the layer that it sits on, got"
            f" {_layer_widths(shapes, spec)} for layers 0 to {spec.head_layers}{f' and --selector={selector}' if selector >= 0 else ''};"
            f" {f'give --selector={_either(fitting)}' if fitting else 'import it with --stage=pretrain, which leaves the classifier out'}"
        )
    if selector < 0 and len(fitting) > 1:
        raise UsageError(
            "the checkpoint must tell on which layer its classifier sits, but it has a projection head and layers"
            f" {_either(fitting)} are of the same width; give --stage=pretrain for a pretrained model with a probe beside it,"
            f" or --selector={_either(fitting)} for a fine-tuned one (supervised ones: 0)"
        )
    return "finetune", fitting[0] if selector < 0 else selector


def _layer_widths(shapes, spec):
    """Widths of what a classifier may sit on: the pooled features, and the output of every head layer (None where it is missing)."""
    last = max((slot.index for slot in shapes if slot.part == "norm"), default=0)
    pooled = shapes.get(Slot("norm", last, "gamma"), (None,))
    return [shape[-1] for shape in (pooled, *(shapes.get(Slot("head", i, "kernel"), (None,)) for i in range(spec.head_layers)))]


def _either(items):
    return " or ".join(map(str, items))
