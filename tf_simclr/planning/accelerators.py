"""What accelerators can do, by their makers' data sheets. No TensorFlow here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip: dense peak in FLOP/s of the matrix units (bfloat16, which TPUs also multiply float32 in by default; `float32` where
    another number holds), memory in bytes, memory bandwidth in bytes/s, and the replicas that TensorFlow makes of it."""

    flops: float
    memory: float
    bandwidth: float
    replicas: int = 1
    float32: float = 0.0

    def peak(self, precision):
        """FLOP/s at a precision: float32, mixed_bfloat16 or mixed_float16."""
        return self.float32 if precision == "float32" and self.float32 else self.flops


CHIPS = {
    "v3": Chip(123e12, 32 * 2**30, 900e9, replicas=2),
    "v4": Chip(275e12, 32 * 2**30, 1228e9),
    "v5e": Chip(197e12, 16 * 2**30, 819e9),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9),
    "v6e": Chip(918e12, 32 * 2**30, 1640e9),
    # Float32 in TF32, which TensorFlow multiplies in by default.
    "A100": Chip(312e12, 80e9, 2039e9, float32=156e12),
    "H100": Chip(989e12, 80e9, 3350e9, float32=495e12),
    "H200": Chip(989e12, 141e9, 4800e9, float32=495e12),
}
# Name: chip, and how many. v2 to v4 and v5p count two cores a chip, v5e and v6e count chips.
ACCELERATORS = {
    "v3-8": ("v3", 4),
    "v4-8": ("v4", 4),
    "v5e-4": ("v5e", 4),
    "v5p-8": ("v5p", 4),
    "v6e-4": ("v6e", 4),
    "v3-32": ("v3", 16),
    "v4-32": ("v4", 16),
    "v3-128": ("v3", 64),
    "A100": ("A100", 1),
    "H100": ("H100", 1),
    "8xA100": ("A100", 8),
    "8xH100": ("H100", 8),
}
