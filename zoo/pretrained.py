"""An encoder of transformers with its head, called as this program's own is: the families of `zoo.encoders`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from zoo import torchvision_fix
from zoo.checkpoints import check_checkpoint, head_of, read_config
from zoo.encoders import encoder_of
from zoo.errors import UserError, told
from zoo.files import write_json
from zoo.graph_standard import STATES
from zoo.heads import Pooled
from zoo.lazily import Lazy
from zoo.lengths import Shape
from zoo.modeling import LengthAdaptiveModel, Output
from zoo.sizes import check_held
from zoo.tasks import LOST
from zoo.tensors import Tensors

if TYPE_CHECKING:
    import transformers
    from transformers import PreTrainedModel
    from transformers.utils import logging as theirs
else:
    transformers, theirs = Lazy("transformers"), Lazy("transformers.utils.logging")

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Pretrained(nn.Module):
    """A model of transformers that is called as a `LengthAdaptiveModel` is, at full length only.

    Args:
        inner: the model.
        config: its `config.json`.

    Attributes:
        inputs: those of `INPUTS` that it takes, in their order.
    """

    def __init__(self, inner: PreTrainedModel, config: dict[str, Any]):
        super().__init__()
        self.inner, self.config = inner.eval(), config
        self.head, self.shape = head_of(config), Shape.from_config(config)
        takes = inspect.signature(inner.forward).parameters
        has_types = config.get("type_vocab_size", 2) > 1
        self.inputs = tuple(n for n in INPUTS if n in takes and (has_types or n != "token_type_ids"))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Output:
        """What `LengthAdaptiveModel.forward` gives.

        Raises:
            UserError: the lengths ask for tokens to be dropped.
        """
        mask = attention_mask.bool()
        if lengths is not None and bool((lengths < mask.sum(1)[:, None]).any()):
            raise UserError("transformers computes this encoder at full length only. Leave the budget out.")
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        values = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        parts = self.answer({name: values[name] for name in self.inputs})[: len(self.head.outputs)]
        logits = (parts[0] if len(parts) == 1 else torch.stack(parts, -1)).float()
        if self.head.per_token:
            logits = logits.masked_fill(~mask[..., None], LOST)
        return Output(logits, [mask] * self.shape.layers)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `answer` gives: the outputs of its task, and behind a vector what other programs pool."""
        return (*self.head.outputs, *((STATES,) if self.head.reads == "pooled" else ()))

    def answer(self, feed: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What the model says, one of `outputs` each."""
        out = self.inner(**feed, return_dict=True)
        if self.head.reads != "pooled":
            return tuple(out[name] for name in self.head.outputs)
        states, mask = out.last_hidden_state, feed.get("attention_mask")
        real = torch.ones_like(feed["input_ids"]).bool() if mask is None else mask.bool()
        # Nothing is dropped here, and all that it reads of a model is the configuration.
        return Pooled(cast("LengthAdaptiveModel", self), real).logits(states, real, real), states

    @classmethod
    def load(cls, folder: Path | str, **overrides: Any) -> Pretrained:
        """Reads a checkpoint folder by transformers, computing in float32; code that lies in it is never run.

        Args:
            folder: `config.json` and safetensors.
            **overrides: keys of the configuration to set.

        Raises:
            UserError: it is of no family of `zoo.encoders`, transformers cannot load it, or weights are missing.
        """
        folder = Path(folder)
        config = {**read_config(folder), **overrides}
        check_checkpoint(config)
        tensors = Tensors.of(folder)
        check_held(config, tensors.parameters, str(folder))
        row, head = encoder_of(config), head_of(config)
        title = row.title if row else "this"
        torchvision_fix.mend()
        auto = getattr(transformers, f"AutoModel{head.ending.removeprefix('Model')}")
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True, "use_safetensors": True}
        with told(f"transformers cannot load {folder} as {title}", "Take another checkpoint."), _quiet():
            inner, report = auto.from_pretrained(str(folder), dtype=torch.float32, output_loading_info=True, **options)
        unread = ("pooler.",) if head.reads == "pooled" else ()  # vectors are made of the last states
        lost = sorted(name for name in report["missing_keys"] if not name.startswith(unread))
        if lost:
            raise UserError(f"{folder}: the checkpoint lacks {len(lost)} weights, for example {lost[0]}.")
        if bad := next((name for name, value in inner.state_dict().items() if not _is_finite(value)), None):
            raise UserError(f"{bad} in {folder} holds values that are no finite numbers. Take another checkpoint.")
        return cls(inner, config)

    def save(self, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
        """Writes a checkpoint folder in a type of numbers."""
        folder = Path(folder)
        state = {name: v.to(dtype) if v.is_floating_point() else v for name, v in self.inner.state_dict().items()}
        with _quiet():
            self.inner.save_pretrained(str(folder), state_dict=state, max_shard_size="100GB")
        config = {key: value for key, value in self.config.items() if key != "auto_map"}
        write_json(folder / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


FloatModel = LengthAdaptiveModel | Pretrained


def load_any(folder: Path | str) -> FloatModel:
    """The float model in a folder, by this program's own encoder where it has the family, else by transformers."""
    return Pretrained.load(folder) if encoder_of(read_config(folder)) else LengthAdaptiveModel.load(folder)


@contextmanager
def _quiet() -> Generator[None]:
    """Without what transformers says of a checkpoint while it loads: what matters of it is raised."""
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
