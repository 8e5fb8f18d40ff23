"""Weights that others have rounded to integers: read as if they were float they give other numbers, so they are refused
by the name of what made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.errors import UserError

MAKERS = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "GPTQ",
    "awq": "AWQ",
    "torchao": "torchao",
    "quanto": "quanto",
    "compressed-tensors": "compressed-tensors",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "eetq": "EETQ",
    "fbgemm_fp8": "FBGEMM",
    "fp8": "fine-grained fp8",
    "auto-round": "AutoRound",
}  # `quant_method` of a configuration -> its name
PARTS = {
    ".SCB": "bitsandbytes",
    ".weight_format": "bitsandbytes",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".g_idx": "GPTQ",
    ".qweight": "AWQ or GPTQ",
    ".qzeros": "AWQ or GPTQ",
    "._data": "quanto",
    "_qdata": "torchao",
    ":_data": "torchao",
    ":int_data": "torchao",
    ":qdata": "torchao",
    ".weight_packed": "compressed-tensors",
}  # how the names of their tensors end; what is told apart first stands first
FLOATS = {"F64", "F32", "F16", "BF16"}  # data types as safetensors has them
ADVICE = (
    "This program quantizes by itself, from float weights: take the checkpoint that they were made from, or save them "
    "again with `model.dequantize().save_pretrained(FOLDER)` where transformers can."
)


def refuse_settings(config: Mapping[str, Any]) -> None:
    """Refuses a `config.json` that says that its weights are integers of another program.

    Raises:
        UserError: it names the program.
    """
    settings = config.get("quantization_config")
    if not settings:
        return
    about: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {}
    method = str(about.get("quant_method") or "").casefold()
    if not method and any(str(key).startswith(("load_in_", "bnb_", "_load_in_")) for key in about):
        method = "bitsandbytes"
    name = MAKERS.get(method, method or "another program")
    raise UserError(f"These weights were quantized by {name} (quantization_config in config.json). {ADVICE}")


def refuse_tensors(dtypes: Mapping[str, str], where: str) -> None:
    """Refuses weights that are not float.

    Args:
        dtypes: data type of each tensor, as the header of a safetensors file has it.
        where: the file, for the message.

    Raises:
        UserError: it names the program that made them, or the first tensor that is not float.
    """
    for ending, maker in PARTS.items():
        if name := next((name for name in dtypes if name.endswith(ending)), None):
            raise UserError(f"{where} holds weights that were quantized by {maker} ({name}). {ADVICE}")
    for name, dtype in dtypes.items():
        # Buffers of integers (positions) are no weights, and are not read.
        if dtype not in FLOATS and name.endswith((".weight", ".bias")):
            raise UserError(f"{where} holds {name} as {dtype}, which is no float: it was quantized. {ADVICE}")
