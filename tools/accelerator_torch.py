"""Where PyTorch is: the pretraining step of DIRECTORY/facts.json as plain PyTorch has it; prints what it found as JSON.

    accelerator_torch.py DIRECTORY STEPS

Channels last, autocast to bfloat16 where the recipe has 16 bits, two views in one pass, NT-Xent, SGD with momentum. The network is ours
layer by layer, but for the paddings of pools and an offset of the last BatchNorm; basic blocks are written out without selective
kernels, and of the stems those named imagenet and cifar.
"""

import json
import pathlib
import sys
import time

import torch
from torch import nn
from torch.nn import functional

COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}


def conv_norm(inputs, outputs, size, stride=1, relu=True):
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class SelectiveKernel(nn.Module):
    """One 3×3 convolution to two streams, mixed per channel by attention over their pooled sum."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.streams = conv_norm(inputs, 2 * outputs, 3, stride)
        squeezed = max(outputs // 16, 32)
        self.scores = nn.Sequential(conv_norm(outputs, squeezed, 1), nn.Conv2d(squeezed, 2 * outputs, 1, bias=False))

    def forward(self, x):
        first, second = self.streams(x).chunk(2, dim=1)
        shares = self.scores((first + second).mean((2, 3), keepdim=True)).chunk(2, dim=1)
        one, other = torch.stack(shares).softmax(0)
        return first * one + second * other


class Block(nn.Module):
    """Two 3×3, or 1×1, 3×3 (or selective kernel), 1×1 to four times the channels; beside a shortcut."""

    def __init__(self, inputs, channels, expansion, stride, sk, project):
        super().__init__()
        outputs = expansion * channels
        if expansion == 1:
            branch = [conv_norm(inputs, channels, 3, stride), conv_norm(channels, channels, 3, relu=False)]
        else:
            spatial = SelectiveKernel(channels, channels, stride) if sk else conv_norm(channels, channels, 3, stride)
            branch = [conv_norm(inputs, channels, 1), spatial, conv_norm(channels, outputs, 1, relu=False)]
        nn.init.zeros_(branch[-1][1].weight)
        self.branch = nn.Sequential(*branch)
        pool = [nn.AvgPool2d(2, stride, ceil_mode=True)] if sk and stride > 1 else []
        steps = [*pool, conv_norm(inputs, outputs, 1, 1 if sk else stride, relu=False)]
        self.shortcut = nn.Sequential(*steps) if project else nn.Identity()

    def forward(self, x):
        return functional.relu(self.branch(x) + self.shortcut(x))


def network(model):
    """Images [B, C, S, S] to projections [B, D], by the model settings of a recipe, a dict."""
    width, sk = model["width"], model["sk"]
    scaled = [max(1, round(channels * width)) for channels in (32, 64, 64, 128, 256, 512)]
    half, channels, groups = scaled[0], scaled[1], scaled[2:]
    if model["stem"] == "cifar":
        layers = [conv_norm(model["channels"], channels, 3)]
    elif sk:
        layers = [conv_norm(model["channels"], half, 3, 2), conv_norm(half, half, 3), conv_norm(half, channels, 3), nn.MaxPool2d(3, 2, 1)]
    else:
        layers = [conv_norm(model["channels"], channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
    expansion = 4 if model["depth"] >= 50 else 1
    for group, (filters, count) in enumerate(zip(groups, COUNTS[model["depth"]])):
        for number in range(count):
            layers.append(Block(channels, filters, expansion, 2 if group and not number else 1, sk, project=not number))
            channels = expansion * filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    hidden = model["head_width"] or channels
    for number in reversed(range(model["head_layers"])):
        outputs = hidden if number else model["head_dim"]
        layers += [nn.Linear(channels, outputs, bias=False), nn.BatchNorm1d(outputs), *([nn.ReLU(inplace=True)] if number else [])]
        channels = outputs
    return nn.Sequential(*layers)


def nt_xent(projections, temperature):
    """NT-Xent of [2B, D], first views before second ones."""
    z = functional.normalize(projections.float(), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    return functional.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(z) // 2))


def measure(facts, steps):
    """A dict: device, version, step_seconds (five steps before do not count), finite (whether the loss is), peak_bytes, parameters; or only
    skipped, and why."""
    model = facts["model"]
    written = model["depth"] in COUNTS and model["stem"] in ("imagenet", "cifar") and not (model["sk"] and model["depth"] < 50)
    if facts["training"] != "pretrain" or model["backbone"] or not written:
        depths = ", ".join(map(str, COUNTS))
        return {"skipped": f"the PyTorch step is written for pretraining, depth {depths}, stem imagenet or cifar, sk from depth 50 on"}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX has it by default
    net = network(model).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    shape = (2 * facts["batch_size"], model["channels"], model["image_size"], model["image_size"])
    views = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)

    def synchronize():
        if device == "cuda":
            torch.cuda.synchronize()

    for number in range(5 + steps):
        if number == 5:
            synchronize()
            start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=facts["precision"] != "float32"):
            projections = net(views)
        loss = nt_xent(projections, facts["temperature"])
        loss.backward()
        optimizer.step()
    synchronize()
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "version": torch.__version__,
        "step_seconds": (time.perf_counter() - start) / steps,
        "finite": bool(torch.isfinite(loss)),
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "parameters": sum(p.numel() for p in net.parameters()) + sum(b.numel() for b in net.buffers() if b.dim()),
    }


if __name__ == "__main__":
    found = json.loads((pathlib.Path(sys.argv[1]) / "facts.json").read_text())
    print(json.dumps(measure(found, int(sys.argv[2]))))
