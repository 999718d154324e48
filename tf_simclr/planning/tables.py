"""A plan as aligned text."""


def training_table(rows):
    """One line for each training (see `plan.plan_training`)."""
    header = ("training", "network", "parameters", "GFLOP/image forward", "GFLOP/image step", "batch", "steps", "weights GB", "MB/image")
    lines = [
        (
            *(row["name"], row["network"], f"{row['parameters']:,}"),
            *(f"{row['forward_flops'] / 1e9:.3g}", f"{row['step_flops'] / 1e9:.3g}", f"{row['batch_size']:,}", _steps(row)),
            *(f"{row['fixed_bytes'] / 1e9:.2g}", f"{row['image_bytes'] / 1e6:.3g}"),
        )
        for row in rows
    ]
    return aligned(header, lines, left=2)


def _steps(row):
    return f"{row['steps']:,}" if row["runs"] == 1 else f"{row['runs']} × {row['steps']:,}"


def accelerator_table(machines):
    """One line for each machine (see `plan.on_machine`), with the hours of every training."""
    names = list(machines[0]["hours"])
    header = ("accelerator", "replicas", "GB needed", "GB there", "fits", "largest batch", *(f"{name} h" for name in names), "all h")
    lines = [
        (
            *(machine["name"], str(machine["replicas"]), f"{machine['replica_bytes'] / 1e9:.1f}", f"{machine['replica_memory'] / 1e9:.1f}"),
            *("yes" if machine["fits"] else "no", f"{machine['largest_batch']:,}"),
            *(f"{machine['hours'][name]:.3g}" for name in names),
            f"{machine['total_hours']:.3g}",
        )
        for machine in machines
    ]
    return aligned(header, lines)


def aligned(header, lines, left=1):
    """Rows of text as columns; the first `left` of them to the left, the others to the right."""
    rows = [header, *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows
    )
