"""What one picks a shipped recipe by: what it is for, what it does in a sentence, and what it lacks here."""

from __future__ import annotations

import re
from importlib.util import find_spec

from compress.recipe.load import RECIPES, expanded, load, shipped
from zoo.errors import UserError

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
    found = re.match(r".*?\.(?=\s|$)", words)
    return found.group() if found else words


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
