"""Attention by torch's math kernel: the quicker ones have no second derivative, and none at all inside torch.vmap."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

KERNELS = (F.scaled_dot_product_attention, F.multi_head_attention_forward)


class Attention(TorchFunctionMode):
    """Has attention take the math kernel from then on, in this process, where it is used inside.

    torch's switches are the whole process's, and a trial's threads run side by side: they are set once, and stay.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchFunctionMode."""
        if func in KERNELS:
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
            torch.backends.cuda.enable_cudnn_sdp(False)
            torch.backends.mha.set_fastpath_enabled(False)
        return func(*args, **(kwargs or {}))
