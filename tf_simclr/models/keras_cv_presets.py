"""KerasCV's backbones by the names of its presets, as arguments of its classes.

KerasCV 0.9 keeps what its presets say on a server, and asks that server even for one without weights. These are the published
architectures (tables of the papers named below), so that nothing is fetched. Left out of its presets: videoswin (videos) and vitdet
(made for one image size of 1,024 pixels).

Nothing random happens in them: stochastic depth is off, since a step must be the same when it is run again.
"""

import itertools


def _columns(*names):
    """A function that turns rows of a paper's table into KerasCV's arguments, one list `stackwise_…` per column."""
    return lambda rows: {f"stackwise_{name}": list(column) for name, column in zip(names, zip(*rows))}


def _mobile_net(rows):
    # The first rows of the large network and the first three convolutions of the small one use ReLU.
    table = _columns("kernel_size", "expansion", "filters", "se_ratio", "activation", "stride")
    return "MobileNetV3Backbone", table((k, e, f, 0.25 if se else None, "hard_swish" if hs else "relu", s) for k, e, f, se, hs, s in rows)


def _efficient_net(kind, rows, width, depth, **more):
    names = ("num_repeats", "kernel_sizes", "strides", "expansion_ratios", "input_filters", "output_filters")
    return f"EfficientNet{kind}Backbone", {"width_coefficient": width, "depth_coefficient": depth, **_columns(*names)(rows), **more}


def _efficient_net_v2(rows, width=1.0, depth=1.0):
    """The stages without squeeze-and-excitation are those of fused blocks."""
    fused = [i < 3 for i in range(len(rows))]
    kinds = {
        "stackwise_squeeze_and_excite_ratios": [0.0 if f else 0.25 for f in fused],
        "stackwise_conv_types": ["fused" if f else "unfused" for f in fused],
    }
    rows = [(repeats, 3, *rest) for repeats, *rest in rows]
    return _efficient_net("V2", rows, width, depth, skip_connection_dropout=0.0, **kinds)


def _res_net(kind, blocks, block_type):
    table = _columns("filters", "blocks", "strides")(zip((64, 128, 256, 512), blocks, (1, 2, 2, 2)))
    return f"ResNet{kind}Backbone", {**table, "block_type": block_type}


def _dense_net(repeats):
    return "DenseNetBackbone", {"stackwise_num_repeats": list(repeats)}


def _dark_net(cls, channels, depth):
    return cls, {"stackwise_channels": list(channels), "stackwise_depth": list(depth)}


# Howard et al. 2019 (arXiv 1905.02244), tables 1 and 2: kernel, expansion, filters, squeeze-and-excitation, hard swish, stride.
_MOBILE_NETS = {
    "small": [
        *((3, 1, 16, True, False, 2), (3, 72 / 16, 24, False, False, 2), (3, 88 / 24, 24, False, False, 1), (5, 4, 40, True, True, 2)),
        *[(5, 6, 40, True, True, 1)] * 2,
        *[(5, 3, 48, True, True, 1)] * 2,
        *((5, 6, 96, True, True, 2), (5, 6, 96, True, True, 1), (5, 6, 96, True, True, 1)),
    ],
    "large": [
        *((3, 1, 16, False, False, 1), (3, 4, 24, False, False, 2), (3, 3, 24, False, False, 1)),
        *((5, 3, 40, True, False, 2), (5, 3, 40, True, False, 1), (5, 3, 40, True, False, 1)),
        *((3, 6, 80, False, True, 2), (3, 2.5, 80, False, True, 1), (3, 2.3, 80, False, True, 1), (3, 2.3, 80, False, True, 1)),
        *[(3, 6, 112, True, True, 1)] * 2,
        *((5, 6, 160, True, True, 2), (5, 6, 160, True, True, 1), (5, 6, 160, True, True, 1)),
    ],
}
# Tan & Le 2019 (arXiv 1905.11946), table 1: repeats, kernel, stride, expansion, filters in and out. The lite networks are the same
# without squeeze-and-excitation.
_EFFICIENT_NET_V1 = [
    *((1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80)),
    *((3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320)),
]
_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))
# Tan & Le 2021 (arXiv 2104.00298), table 4 and appendix: repeats, stride, expansion, filters in and out; every kernel is 3×3.
_EFFICIENT_NET_V2 = {
    "s": [(2, 1, 1, 24, 24), (4, 2, 4, 24, 48), (4, 2, 4, 48, 64), (6, 2, 4, 64, 128), (9, 1, 6, 128, 160), (15, 2, 6, 160, 256)],
    "m": [
        *((3, 1, 1, 24, 24), (5, 2, 4, 24, 48), (5, 2, 4, 48, 80), (7, 2, 4, 80, 160)),
        *((14, 1, 6, 160, 176), (18, 2, 6, 176, 304), (5, 1, 6, 304, 512)),
    ],
    "l": [
        *((4, 1, 1, 32, 32), (7, 2, 4, 32, 64), (7, 2, 4, 64, 96), (10, 2, 4, 96, 192)),
        *((19, 1, 6, 192, 224), (25, 2, 6, 224, 384), (7, 1, 6, 384, 640)),
    ],
    "b": [(1, 1, 1, 32, 16), (2, 2, 4, 16, 32), (2, 2, 4, 32, 48), (3, 2, 4, 48, 96), (5, 1, 6, 96, 112), (8, 2, 6, 112, 192)],
}
# He et al. 2015 (arXiv 1512.03385), table 1.
_RES_NETS = {
    18: ((2, 2, 2, 2), "basic_block"),
    34: ((3, 4, 6, 3), "basic_block"),
    50: ((3, 4, 6, 3), "block"),
    101: ((3, 4, 23, 3), "block"),
    152: ((3, 8, 36, 3), "block"),
}
# Huang et al. 2016 (arXiv 1608.06993), table 1.
_DENSE_NETS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
# Wang et al. 2019 (arXiv 1911.11929) in the sizes of YOLOX, and of YOLOv8.
_DARK_NETS = {
    "csp_darknet_tiny": ("CSPDarkNetBackbone", (48, 96, 192, 384), (1, 3, 3, 1)),
    "csp_darknet_s": ("CSPDarkNetBackbone", (64, 128, 256, 512), (1, 3, 3, 1)),
    "csp_darknet_m": ("CSPDarkNetBackbone", (96, 192, 384, 768), (2, 6, 6, 2)),
    "csp_darknet_l": ("CSPDarkNetBackbone", (128, 256, 512, 1024), (3, 9, 9, 3)),
    "csp_darknet_xl": ("CSPDarkNetBackbone", (170, 340, 680, 1360), (4, 12, 12, 4)),
    "yolo_v8_xs_backbone": ("YOLOV8Backbone", (32, 64, 128, 256), (1, 2, 2, 1)),
    "yolo_v8_s_backbone": ("YOLOV8Backbone", (64, 128, 256, 512), (1, 2, 2, 1)),
    "yolo_v8_m_backbone": ("YOLOV8Backbone", (96, 192, 384, 576), (2, 4, 4, 2)),
    "yolo_v8_l_backbone": ("YOLOV8Backbone", (128, 256, 512, 512), (3, 6, 6, 3)),
    "yolo_v8_xl_backbone": ("YOLOV8Backbone", (160, 320, 640, 640), (3, 6, 6, 3)),
}

_V1 = {"stackwise_squeeze_and_excite_ratios": [0.25] * len(_EFFICIENT_NET_V1), "drop_connect_rate": 0.0}
# The name of a preset: the name of KerasCV's class, and its arguments.
PRESETS = {
    **{f"mobilenet_v3_{size}": _mobile_net(rows) for size, rows in _MOBILE_NETS.items()},
    **{f"efficientnetv2_{size}": _efficient_net_v2(_EFFICIENT_NET_V2[size]) for size in "sml"},
    **{f"efficientnetv2_b{i}": _efficient_net_v2(_EFFICIENT_NET_V2["b"], *scale) for i, scale in enumerate(_SCALES[:4])},
    **{f"efficientnetv1_b{i}": _efficient_net("V1", _EFFICIENT_NET_V1, *scale, **_V1) for i, scale in enumerate(_SCALES)},
    **{
        f"efficientnetlite_b{i}": _efficient_net("Lite", _EFFICIENT_NET_V1, *scale, drop_connect_rate=0.0)
        for i, scale in enumerate(_SCALES[:5])
    },
    **{f"densenet{depth}": _dense_net(repeats) for depth, repeats in _DENSE_NETS.items()},
    **{name: _dark_net(*row) for name, row in _DARK_NETS.items()},
    **{
        f"resnet{depth}{suffix}": _res_net(kind, *row)
        for (depth, row), (kind, suffix) in itertools.product(_RES_NETS.items(), (("", ""), ("V2", "_v2")))
    },
}
