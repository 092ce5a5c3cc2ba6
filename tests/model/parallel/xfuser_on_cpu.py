"""xfuser's real code on CPUs: a stand-in accelerator while it is imported, and torch's own flash kernel for CPUs."""

from contextlib import ExitStack
from unittest.mock import patch

import diffusers  # noqa: F401, before the stand-in: it would look for real kernels
import torch
import transformers  # noqa: F401


def load() -> None:
    """Import xfuser and yunchang; they run as on GPUs, over gloo."""
    stand_in = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "CPU",
        "get_device_capability": lambda device=None: (8, 0),
    }
    with ExitStack() as stack:
        for name, function in stand_in.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        stack.enter_context(patch.object(torch.version, "cuda", "12.8"))
        import xfuser.core.distributed
        import xfuser.core.long_ctx_attention.ring  # noqa: F401
        import yunchang.kernels.attention

    yunchang.kernels.attention._scaled_dot_product_flash_attention = (
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    )
