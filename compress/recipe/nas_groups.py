"""What recipes of the kind `nas` say about the supernet: its text, its sizes, how it is trained and tuned.

A recipe holds `space: SearchSpace`, `generate_data: GenerateData`, `supernet: Supernet` and `tune: Tune` beside
`model`, `tokenizer`, `dataset` and `training`. In this order the stages `generate_data` (`compress.learn.shards:run`),
`order` (`compress.nas.ordering:run`), `supernet` (`compress.nas.supernet_train:run`, spread over the processes of a
torchrun) and `tune` (`compress.nas.supernet_tune:run`, spread). `compress.nas.scoring` takes a
candidate out of the tuned supernet (`inside`) or fine-tunes one (`finetune_candidate`), and scores it (`score_model`).

What each depends on: `generate_data` on model, tokenizer, generate_data and of supernet `checkpoint`, `apply`, `order`;
`order` on model, tokenizer, space, training and of supernet `checkpoint`, `order`, `order_blocks`; `supernet` on model,
tokenizer, space, supernet and training; `tune` on space, dataset, tune, training and `search.scoring`.
"""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from compress.recipe.groups import Decay, Epochs, Group, Learning, LearningRate, MaxNorm, Share, Weight


class SearchSpace(Group):
    """The encoders to choose from: the smallest and the largest of every size."""

    layers: list[int] = Field(default=[2, 6], description="fewest and most layers")
    hidden: list[int] = Field(
        default=[128, 384], description="smallest and largest width, multiples of the checkpoint's head size"
    )
    intermediate: list[int] = Field(default=[256, 1536], description="smallest and largest feed-forward width")
    step: int = Field(default=64, ge=1, le=4096, description="between feed-forward widths")

    @field_validator("layers", "hidden", "intermediate")
    @classmethod
    def _bounds(cls, value: list[int]) -> list[int]:
        if len(value) != 2 or not 0 < value[0] <= value[1]:
            raise ValueError("two numbers from 1 on, the smaller first")
        return value


class GenerateData(Group):
    """Text for the supernet in blocks of tokens, several processes at a time."""

    text: str = Field(
        default="examples",
        description="a .txt file or a folder of them, one passage a line; a Hub id (`owner/name` or "
        "`owner/name:split`) with a column `text`, BookCorpus for example; or `examples`, the bundled passages",
    )
    text_config: str | None = Field(default=None, description="configuration of a Hub id that has several")
    max_passages: int | None = Field(default=None, ge=1, description="read so many passages from the start; null: all")
    block_tokens: int = Field(default=128, ge=16, le=512, description="tokens of a training input")
    shard_megabytes: float = Field(
        default=4.0, gt=0, le=1024, description="millions of characters that are read for a file of blocks"
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes that turn text into tokens")


class Supernet(Group):
    """Training of one network whose leading slices are all encoders of the space (AutoTinyBERT, arXiv 2107.13686)."""

    apply: bool = Field(
        default=True, description="train it on text; false: the starting checkpoint's slices are taken as they are"
    )
    checkpoint: str | None = Field(
        default=None, description="folder of a supernet that was trained before, to take instead; null: none"
    )
    order: bool = Field(
        default=True,
        description="put what matters most first (columns of hidden states, heads, channels), so that slices keep it",
    )
    order_blocks: int = Field(default=64, ge=1, le=10_000, description="blocks of text to find out what matters")
    teacher: str | None = Field(
        default=None, description="whom to learn from: a folder, a bundled entry or a Hub id; null: `model`"
    )
    label_weight: Weight = Field(default=0.0, description="weight of the masked words' own loss")
    teacher_weight: Weight = Field(
        default=0.0, description="weight of the teacher's masked words; it needs a head for them"
    )
    hidden_weight: Weight = Field(default=1.0, description="weight of the distance to the teacher's last hidden states")
    relation_weight: Weight = Field(
        default=1.0,
        description="weight of the last layer's relations of queries, keys and values (MiniLMv2), at any width",
    )
    relation_heads: int = Field(default=12, ge=1, le=128, description="parts at most in which relations are compared")
    temperature: float = Field(default=2.0, gt=0, le=100, description="both distributions of words are softened by it")
    random_networks: int = Field(
        default=1, ge=0, le=16, description="random sub-networks a step, beside the largest and the smallest"
    )
    learning_rate: LearningRate = 1e-4
    epochs: float = Field(default=1, gt=0, le=1000, description="passes over the text; fractions are allowed")
    steps: int | None = Field(default=None, ge=1, description="train for so many steps instead of epochs")
    batch_size: int = Field(default=32, ge=1, le=4096, description="blocks a step, over all processes together")
    warmup_ratio: Share = Field(default=0.05, description="share of the steps in which the learning rate rises")
    weight_decay: Decay = 0.01
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout in training; on a CPU it costs half the speed")
    max_grad_norm: MaxNorm = 1.0
    max_minutes: float | None = Field(
        default=None, gt=0, description="end, annealed, after so many minutes; null: no limit"
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> Supernet:
        if not self.label_weight + self.teacher_weight + self.hidden_weight + self.relation_weight:
            raise ValueError("label_weight, teacher_weight, hidden_weight and relation_weight are all 0")
        return self


class Tune(Learning):
    """The supernet tuned on the task, once, so that candidates can be scored inside it without training."""

    epochs: Epochs = 3
    random_networks: int = Field(
        default=2, ge=0, le=16, description="random sub-networks a step, beside the largest and the smallest"
    )
    label_weight: Weight = Field(default=0.5, description="weight of the data's own labels for all but the largest")
    teacher_weight: Weight = Field(default=0.5, description="weight of what the largest network says for all others")
    temperature: float = Field(default=1.0, gt=0, le=100, description="what both say is softened by it")

    @model_validator(mode="after")
    def _weights_fit(self) -> Tune:
        if not self.label_weight + self.teacher_weight:
            raise ValueError("label_weight and teacher_weight are both 0: nothing would be learned")
        return self
