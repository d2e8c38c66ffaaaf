"""ResNet-12 as few-shot papers have it: blocks of three convolutions beside a shortcut."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 160, 320, 640)


class Residual(nn.Module):
    """Three convolutions with BatchNorm and leaky ReLU, a 1x1 shortcut added before the last, max-pooled by 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for channels in (before, after, after):
            conv = nn.Conv2d(channels, after, 3, padding=1, bias=False)
            parts += [conv, nn.BatchNorm2d(after, track_running_stats=False), nn.LeakyReLU(0.1)]
        self.branch = nn.Sequential(*parts[:-1])
        norm = nn.BatchNorm2d(after, track_running_stats=False)
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), norm)
        self.end = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / 2, w / 2)."""
        out: Tensor = self.end(self.branch(x) + self.shortcut(x))
        return out


def resnet12(ways: int, channels: int = 3) -> nn.Module:
    """Four blocks, the mean over space, linear: (n, channels, h, w) to (n, ways). arXiv 1904.03758."""
    blocks = [Residual(before, after) for before, after in zip((channels, *WIDTHS), WIDTHS)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], ways))
