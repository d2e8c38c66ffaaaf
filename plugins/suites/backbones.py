"""The networks of the papers. BatchNorm always uses the current batch, as the MAML authors' code does.

A network draws its initial weights from torch's global random state.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

EPSILON = 1e-3
"""What BatchNorm adds to a variance: the default of tf.contrib.layers.batch_norm, which MAML's code uses."""

FULLY_CONNECTED = (256, 128, 64, 64)
"""The hidden layers of MAML's network without convolution."""


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int, std: float | None = None) -> nn.Module:
    """Linear layers with ReLU between them: (n, inputs) to (n, outputs).

    Initial weights: torch's default, or with `std` those of `narrow`.
    """
    widths = (inputs, *hidden)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(zip(widths, hidden), start=1):
        layers[f"linear{number}"] = nn.Linear(before, after)
        layers[f"relu{number}"] = nn.ReLU()
    layers["head"] = nn.Linear(widths[-1], outputs)
    return nn.Sequential(layers if std is None else narrow(layers, std))


def narrow(layers: OrderedDict[str, nn.Module], std: float) -> OrderedDict[str, nn.Module]:
    """The layers, linear ones with weights drawn anew: normal, cut off at two deviations; biases zero."""
    for layer in layers.values():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)
    return layers


def mlp_normalised(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Module:
    """Linear, BatchNorm, ReLU for each hidden width, then linear: (n, ...), flattened, to (n, outputs).

    With 256-128-64-64 the network without convolution of MAML (arXiv 1703.03400, section 5.2). Initial
    weights as in its code: normal with deviation 0.01, cut off at two deviations; biases zero.
    """
    widths = (inputs, *hidden)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flat=nn.Flatten())
    for number, (before, after) in enumerate(zip(widths, hidden), start=1):
        layers[f"linear{number}"] = nn.Linear(before, after)
        layers[f"norm{number}"] = nn.BatchNorm1d(after, eps=EPSILON, track_running_stats=False)
        layers[f"relu{number}"] = nn.ReLU()
    layers["head"] = nn.Linear(widths[-1], outputs)
    return nn.Sequential(narrow(layers, 0.01))


class MeanOverSpace(nn.Module):
    """(n, channels, height, width) to (n, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv_strided(ways: int, filters: int = 64, channels: int = 1) -> nn.Module:
    """Four 3x3 convolutions with stride 2, the mean over space, linear: (n, channels, h, w) to (n, ways).

    MAML's network for Omniglot (arXiv 1703.03400, section 5.2). Initial weights: Xavier uniform, biases zero.
    MAML's code does so but for the last layer, which it draws from a standard normal; logits that large make
    MAML start slowly at step size 0.4. Its convolutions pad even sizes on the right and at the bottom alone
    (TensorFlow's SAME), ours on each side, and its BatchNorm has a shift but no scale.
    """
    layers = convolutions(channels, filters, stride=2)
    layers["mean"] = MeanOverSpace()
    layers["head"] = head = nn.Linear(filters, ways)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(layers)


def conv_pool(ways: int, filters: int = 64, channels: int = 1, image_size: int = 28) -> nn.Module:
    """Four 3x3 convolutions, each max-pooled by 2, then linear: (n, channels, size, size) to (n, ways).

    The network of matching networks (arXiv 1606.04080), and with 32 filters on 84x84 MAML's for
    mini-ImageNet; later papers call it conv4. Initial weights as in MAML's code: Xavier uniform everywhere, biases
    zero. Raises ValueError for images under 16 pixels, which four poolings leave empty.
    """
    if image_size < 16:
        raise ValueError(f"image_size must be at least 16 for four poolings by 2, not {image_size}")
    layers = convolutions(channels, filters, stride=1)
    layers["flat"] = nn.Flatten()
    layers["head"] = head = nn.Linear(filters * (image_size // 16) ** 2, ways)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(layers)


def convolutions(channels: int, filters: int, stride: int) -> OrderedDict[str, nn.Module]:
    """Four blocks of convolution, BatchNorm and ReLU by name, max-pooled by 2 where the stride is 1."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, before in enumerate((channels, filters, filters, filters), start=1):
        conv = nn.Conv2d(before, filters, kernel_size=3, stride=stride, padding=1)
        nn.init.xavier_uniform_(conv.weight)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        layers[f"conv{number}"] = conv
        layers[f"norm{number}"] = nn.BatchNorm2d(filters, eps=EPSILON, track_running_stats=False)
        layers[f"relu{number}"] = nn.ReLU()
        if stride == 1:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
    return layers


RESNET12 = (64, 160, 320, 640)
"""The widths of MetaOptNet's (arXiv 1904.03758), as in most later papers: 12,424,320 parameters below the head."""
RESNET12_NARROW = (64, 128, 256, 512)
"""Those of TADAM's (arXiv 1805.10123): 7,996,800 parameters below the head."""


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions beside one of 1x1, max-pooled by 2: (n, before, h, w) to (n, after, h/2, w/2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, width in enumerate((before, after, after), start=1):
            layers[f"conv{number}"] = nn.Conv2d(width, after, kernel_size=3, padding=1, bias=False)
            layers[f"norm{number}"] = nn.BatchNorm2d(after, track_running_stats=False)
            if number < 3:
                layers[f"relu{number}"] = nn.LeakyReLU(0.1)
        self.main = nn.Sequential(layers)
        shortcut = nn.Conv2d(before, after, kernel_size=1, bias=False)
        norm = nn.BatchNorm2d(after, track_running_stats=False)
        self.shortcut = nn.Sequential(OrderedDict(conv=shortcut, norm=norm))
        self.relu = nn.LeakyReLU(0.1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.relu(self.main(x) + self.shortcut(x)))
        return pooled


def resnet12(ways: int, channels: int = 3, widths: tuple[int, ...] = RESNET12) -> nn.Module:
    """Four residual blocks, the mean over space, linear: (n, channels, h, w) to (n, ways), h and w at least 16.

    As in the code of MetaOptNet, which learn2learn and LibFewShot follow, but for two things: its mean is over
    whatever is left (2x2 of 32x32, 5x5 of 84x84), and it drops nothing out, as random numbers in a model cannot be
    repeated in the inner loop. Initial weights: Kaiming normal over outputs, as there.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(zip((channels, *widths), widths), start=1):
        layers[f"block{number}"] = ResidualBlock(before, after)
    layers["mean"] = MeanOverSpace()
    layers["head"] = nn.Linear(widths[-1], ways)
    network = nn.Sequential(layers)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="leaky_relu")
    return network
