"""Networks as they might be after training, for tests of what a fused prediction depends on."""

from __future__ import annotations

import torch
from torch import nn


def opened(net: nn.Module) -> None:
    """Move every parameter of the fusions, whose gates to the text are closed where training begins."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "fusion." in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
