"""Whether operators are only computed now, or something else has to see which ones there are."""

from __future__ import annotations

import torch


def traced() -> bool:
    """Whether a graph is being recorded or operators are intercepted: by an export, a compiler or NNCF's hooks.

    These know torch's own operators by name, so nothing that is ours alone may stand in their place.
    """
    stacks = torch._C  # pyright: ignore[reportPrivateUsage]
    return (
        torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or torch.compiler.is_compiling()
        or stacks._len_torch_function_stack() > 0  # pyright: ignore[reportPrivateUsage]
        or stacks._len_torch_dispatch_stack() > 0  # pyright: ignore[reportPrivateUsage]
    )
