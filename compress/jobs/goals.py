"""What one picks a shipped recipe by: what it is for, what it does in a sentence, and what it lacks here."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from importlib.util import find_spec

from compress.data.names import OWN
from compress.jobs.estimate import Estimate, estimate
from compress.jobs.ledger import get_ledger
from compress.recipe.load import RECIPES, expanded, load, shipped
from compress.recipe.place import places
from zoo.catalog import folder_here
from zoo.errors import UserError
from zoo.tasks import find_task

NO_TRAINING, BUDGETS, TRAINED = "smaller, without training", "fewer tokens, for every budget", "int8 that is trained"
SPARSE, SEARCHED = "fewer weights", "another architecture"
TAUGHT, TRIAL = "a model to begin with", "only to see how it goes"
GOALS = (NO_TRAINING, BUDGETS, TRAINED, SPARSE, SEARCHED, TAUGHT, TRIAL)
BY_KIND = {
    "quantize": NO_TRAINING,
    "length_adaptive": BUDGETS,
    "nas": SEARCHED,
    "prune_once": SPARSE,
    "aimet_w8a8": TRAINED,
    "nncf": TRAINED,
}
DATA = "${BUDGET_ZOO_DATA}"
# A kind that can do several things says too little.
BY_NAME = {
    "nncf_post_training": NO_TRAINING,
    "aware_int8": TRAINED,
    "prune": SPARSE,
    "compress_minilm_l6": SPARSE,
    "distill": TAUGHT,
    "finetune_glue": TAUGHT,
    "teacher_squad": TAUGHT,
}


def goal_of(name: str) -> str:
    """What a shipped recipe is for, one of `GOALS`."""
    if name.endswith("_tiny"):
        return TRIAL
    return BY_NAME.get(name) or BY_KIND[load(name).kind]


def by_goal() -> dict[str, list[str]]:
    """The shipped recipes by what they are for."""
    goals: dict[str, list[str]] = {goal: [] for goal in GOALS}
    for name in shipped():
        goals[goal_of(name)].append(name)
    return goals


def about(name: str) -> str:
    """What a shipped recipe does: the first sentence of the comment that it begins with."""
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = next((lines[:at] for at, line in enumerate(lines) if not line.startswith("#")), lines)
    words = " ".join(line.lstrip("#").strip() for line in comment)
    first = re.match(r".*?\.(?=\s|$)", words)
    return first.group() if first else words


def needs(name: str) -> str:
    """What a shipped recipe brings to this machine before it can begin, or asks for, in a sentence."""
    recipe = load(name)
    hub, own, made = dict[str, None](), dict[str, None](), dict[str, None]()  # each once, in their order
    for keys, place in places(type(recipe), recipe.model_dump(exclude_defaults=True)):
        place = find_task(recipe.dataset.task).hub if place == OWN and keys[0] == "dataset" else place
        name = place.removeprefix(f"{DATA}/").partition(":")[0]
        if place.startswith(DATA):
            own[name] = None
        elif "/" in place and not place.startswith("{"):
            hub[name] = None
        elif keys[-1] in ("model", "teacher") and folder_here(place) is None:
            made[name] = None
    parts = [f"downloads {', '.join(hub)}"] if hub else []
    parts += [f"takes {', '.join(own)} from the folder of BUDGET_ZOO_DATA"] if own else []
    parts += [f"takes the result {', '.join(made)} of another recipe"] if made else []
    return f"It {' and '.join(parts)}." if parts else "All that it needs comes with the program."


@lru_cache(maxsize=256)
def cost(name: str, _while: int) -> Estimate:
    """What a shipped recipe takes here as it is.

    Args:
        name: of the recipe.
        _while: within which it is not worked out again, see `now`.
    """
    return estimate(load(name))


def now() -> int:
    """A number that changes every few minutes, and whenever a job has begun or ended: `cost` is asked anew."""
    return hash((int(time.monotonic() // 600), tuple((job.id, job.state) for job in get_ledger().jobs()[:50])))


def lacking(name: str) -> str:
    """Why a shipped recipe cannot run here as it is, in a sentence; empty where nothing is known against it.

    Of data and packages only: whether its model can be had is asked of nobody before somebody wants it.
    """
    recipe = load(name)
    try:
        expanded(recipe)
    except UserError as error:
        return str(error)
    return next((need.advice for need in recipe.needs() if find_spec(need.module) is None), "")
