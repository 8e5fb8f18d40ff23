"""A search's configurations scored at once on a Ray cluster: the same scores as here, in the same order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.children import environment, require_ray
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.tasks.judge import Judge
from zoo.lengths import LengthConfig
from zoo.settings import get_settings

Measure = Callable[..., dict[str, float]]
Spread = Callable[[Measure, Sequence[LengthConfig]], Iterable[dict[str, float]]]


@contextmanager
def scorers(folder: Path, recipe: LengthAdaptiveRecipe, examples: Sequence[Any]) -> Generator[Spread]:
    """What measures many configurations: `spread(measure, configs)` gives the results in the order of `configs`.

    With `search.workers` of 1 it is `map`. With more, so many processes score, each with a `Judge` of its own, and
    `measure(config, scores)` adds what has to be measured here, which for latency means after all of them are idle.
    `RAY_ADDRESS` names the cluster; without it one is started on this machine.

    Args:
        folder: the quantized model.
        recipe: with its `search` group.
        examples: to score on.

    Raises:
        UserError: Ray is not installed.
    """
    workers = recipe.search.workers
    if workers == 1:
        yield map
        return
    with cluster(workers, recipe.evaluate.threads or max(1, get_settings().threads // workers)) as ray:
        from ray.util import ActorPool

        scorer = ray.remote(num_cpus=1)(Scorer)
        shared = ray.put(list(examples))
        pool = ActorPool([scorer.remote(str(folder), recipe.model_dump(mode="json"), shared) for _ in range(workers)])

        def spread(measure: Measure, configs: Sequence[LengthConfig]) -> Iterator[dict[str, float]]:
            scores = pool.map(lambda actor, config: actor.score.remote(config), list(configs))
            if recipe.search.objective == "latency":
                scores = list(scores)
            for config, one in zip(configs, scores, strict=True):
                yield measure(config, one)

        yield spread


@contextmanager
def cluster(workers: int, threads: int) -> Generator[Any]:
    """The module `ray`, connected to the cluster that `RAY_ADDRESS` names, or to one of this machine's own.

    Args:
        workers: CPUs of a cluster that is started here.
        threads: of every process in it.

    Raises:
        UserError: Ray is not installed.
    """
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = os.environ.get("RAY_ADDRESS")
    variables = environment({"BUDGET_ZOO_THREADS": threads, "OMP_NUM_THREADS": threads})
    ray.init(
        address=address or "local",  # without a word it would join any cluster that it finds here
        num_cpus=None if address else workers,
        include_dashboard=None if address else False,
        log_to_driver=False,
        runtime_env={"env_vars": {key: variables[key] for key in variables if key not in ("PATH", "RAY_ADDRESS")}},
    )
    try:
        yield ray
    finally:
        ray.shutdown()


class Scorer:
    """A `Judge` in a process of its own."""

    def __init__(self, folder: str, recipe: dict[str, Any], examples: list[Any]):
        self._judge = Judge(Path(folder), LengthAdaptiveRecipe.model_validate(recipe), examples)

    def score(self, config: LengthConfig) -> dict[str, float]:
        return self._judge.score(config)
