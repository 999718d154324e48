"""Makes a run directory of a released SimCLR model: a TF1 checkpoint or a TF2 SavedModel of SimCLRv1 or v2.

    python tools/import_checkpoint.py --checkpoint=downloads/r50_1x_sk0 --run_dir=runs/r50 --stage=pretrain
    tf-simclr --stage=finetune --from=runs/r50 --dataset=folder --data_dir=images --label_fraction=0.1

Architecture is read from the file; docs/import.md says what can be imported. Which variable went where is printed in short and
written to RUN_DIR/report/import.json in full.
"""

import argparse
import pathlib
import sys

from tf_simclr import cli
from tf_simclr.errors import StorageError, UsageError


def read_names(path):
    """The lines of a file; blank ones at its end do not count."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--class_names must be a text file with one name per line, got {path}: {error}; give another one") from error


def table(report):
    """The report in a few lines."""
    spec = report["architecture"]
    rows = [("restored", len(report["restored"]), f"{report['parameters']:,} parameters"), ("missing", len(report["missing"]), "")]
    for kind in ("skipped", "unused"):
        rows += [(kind, len(names), reason) for reason, names in report[kind].items()] or [(kind, 0, "")]
    heads = f"{spec['head_layers']} head layers, selector {report['selector']}, {report['classes']} classes"
    kernels = ", selective kernels" if spec["sk"] else ""
    return "\n".join(
        [f"{report['kind']}: ResNet-{spec['depth']}, width {spec['width']:g}{kernels}, {spec['stem']} stem, {heads}"]
        + [f"{kind:8}  {count:6}  {words}".rstrip() for kind, count, words in rows]
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a TF1 checkpoint or a SavedModel, or a checkpoint's prefix")
    parser.add_argument("--run_dir", required=True, help="new directory for the run")
    parser.add_argument("--stage", choices=("auto", "pretrain", "finetune"), default="auto", help="what to make of it (auto: what it is)")
    parser.add_argument("--selector", type=int, default=-1, help="layer that the classifier sits on, 0 the pooled features (-1: found)")
    parser.add_argument("--image_size", type=int, default=0, help="side of the network input (0: 224, or 32 with a CIFAR stem)")
    parser.add_argument("--class_names", type=pathlib.Path, help="text file, one class name per line in label order")
    arguments = parser.parse_args(argv)
    names = read_names(arguments.class_names) if arguments.class_names else ()
    cli.prepare()
    from tf_simclr.importing.run import import_run  # after `prepare`, which must come before TensorFlow

    report = import_run(**vars(arguments) | {"class_names": names})
    print(f"{table(report)}\na finished run of {report['stage']}: use it with --from={arguments.run_dir}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, StorageError) as error:
        print(f"import_checkpoint.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
