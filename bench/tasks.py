"""Every task of GLUE, SQuAD and XNLI in float and in eight bits: AIMET's simulation, its real integers, and NNCF's."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.latency import Row as Timed
from bench.latency import passage
from bench.report import Json, report
from compress.recipe.load import load
from compress.run.run import run
from zoo import catalog, latency
from zoo.engines import open_engine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.settings import get_settings
from zoo.tasks import find_task

log = logging.getLogger(__name__)

EPOCHS = {"cola": 5, "sst2": 0.5, "mrpc": 4, "stsb": 5, "qqp": 0.6, "mnli": 3, "qnli": 2, "rte": 1}  # in float
QUESTIONS, ENTAILMENT, LEARNED = "squad", "xnli_en", "mnli"
# Entailment in English is reported on what MNLI's model says. RTE's 2,490 pairs are too few to learn entailment from:
# it goes on from MNLI's model, as RoBERTa did (1907.11692, section 5.1).
BUILT_ON = {ENTAILMENT: LEARNED, "rte": LEARNED}
TASKS = (*EPOCHS, QUESTIONS, ENTAILMENT)
MODEL, ANSWERING = "sentence-transformers/all-MiniLM-L6-v2", "minilm-l6-qa"
TOKENS, SECONDS = (32, 128), 5.0  # that are timed, and for how long each at the most
MINUTES, RATE = 1.2, 1e-5  # of a training in eight bits; what rounds everything gets twice the time
STEP = 0.007  # of ranges: by RATE alone they would hardly move in so short a training
TAUGHT = ["distill.apply=true", "distill.store_logits=false"]  # so short a training sees little of what would be stored
SMOOTHING = 0.5  # of what real int8 rounds: a feed-forward's inputs have columns forty times as wide as the others
SMOOTHER = {"rte": 0.65}  # rounded inputs move its margins least there, of 0.5, 0.65 and 0.8 on pairs it learned from
AVERAGE = {"cola": 0.98}  # of weights, in AIMET's training: the last ones are points apart
SHORT = ("cola",)  # texts of a dozen words
DISTILLED = ("squad", "cola")  # that NNCF learns in both ways: from labels alone CoLA loses most
COLUMNS = {  # of the table: what a run's stage `evaluate` calls it, and how it reads
    "full": ("full", "simulated", "W8A8 everywhere, simulated"),
    "simulated": ("deploy", "simulated", "W8A8 of products, simulated"),
    "int8": ("deploy", "int8", "real int8"),
    "nncf": ("nncf", "int8", "NNCF real int8"),
    "distilled": ("nncf-distilled", "int8", "NNCF distilled"),
}


app = typer.Typer()


@dataclass(frozen=True)
class Row:
    """A task's main metric, 0 to 100, in float and in every way; None where a way is not for the task.

    Attributes:
        n: examples that are reported on.
        remark: what the data lack.
    """

    task: str
    metric: str
    n: int
    exact: float
    scores: dict[str, float | None]
    remark: str

    def lost(self, way: str) -> float | None:
        """Points below float."""
        score = self.scores[way]
        return None if score is None else self.exact - score


def compare(
    tasks: Sequence[str],
    folder: Path,
    model: str = MODEL,
    answering: str = ANSWERING,
    minutes: float = MINUTES,
    questions: int | None = 2000,
) -> list[Row]:
    """Fine-tunes the model on each task, then has it learn eight bits in three ways; what is done stays done.

    Args:
        tasks: of TASKS.
        folder: the runs', a few of them a task.
        model: what is fine-tuned on the tasks of GLUE, on the data in `BUDGET_ZOO_DATA`.
        answering: what knows SQuAD.
        minutes: that each training in eight bits takes at most; twice as many where everything is rounded.
        questions: that SQuAD's models are scored on, drawn at random; None: all.

    Raises:
        UserError: an unknown task, or no data.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise UserError(f"There is no task {unknown[0]!r} here: choose of {', '.join(TASKS)}.")
    for at, task in enumerate(tasks):
        needed = BUILT_ON.get(task)
        if needed and needed not in tasks[:at] and not (folder / needed / "finetune" / "done.json").is_file():
            raise UserError(f"{task} builds on the model that learns {needed}: name that task before it, too.")
    rows = []
    for task in tasks:
        plans = plans_of(task, folder, model, answering, minutes, questions)
        results: dict[str, Any] = {}
        for name, (preset, changes) in plans.items():
            log.info("%s, %s", task, name)
            at = folder / (task if name == "full" else f"{task}-{name}")
            results[name] = run(load(preset, changes), at)["evaluate"]
        known, metric = find_task(task), find_task(task).primary
        scores = {way: results.get(name, {}).get(f"{key}_{metric}") for way, (name, key, _) in COLUMNS.items()}
        first = next(iter(results.values()))
        n, remark = int(first["n"]), ""
        if known.rows and n != known.rows:
            remark = f"{n:,} of our own, not GLUE's {known.rows:,} for validation"
        rows.append(Row(task, metric, n, first[f"float_{metric}"], scores, remark))
    return rows


def plans_of(
    task: str, folder: Path, model: str, answering: str, minutes: float, questions: int | None
) -> dict[str, tuple[str, list[str]]]:
    """By way, the recipe and what is changed in it; the first one's float model is that of the others."""
    common = ["training.freeze_embeddings=true", "evaluate.latency_rounds=0"]
    options = [*common, f"model={folder / task / 'finetune'}", "finetune.apply=false"]
    start = folder / BUILT_ON[task] / "finetune" if task in BUILT_ON else model
    learned = [*common, f"model={start}", "finetune.dropout=0", f"finetune.epochs={EPOCHS.get(task, 0)}"]
    tune = [f"tune.learning_rate={RATE}", f"tune.max_minutes={minutes}"]
    learning = [f"aimet.learning_rate={RATE}", f"aimet.range_step={STEP}"]
    deploy = ["aimet.scope=deploy", "aimet.per_channel=true", f"aimet.smoothing={SMOOTHER.get(task, SMOOTHING)}"]
    nncf, title = "nncf_minilm_l6_mnli", f"package.title=MiniLM-L6 for {task}, quantized by NNCF"
    named = [f"dataset.task={task}", title]
    if task == QUESTIONS:
        common.append(f"evaluate.max_questions={'null' if questions is None else questions}")
        options = learned = [*common, f"model={answering}", "finetune.apply=false"]
        nncf, named = "nncf_minilm_l6_squad", []
    if task == ENTAILMENT:
        options[2] = f"model={start}"
        place = "dataset.evaluation=${BUDGET_ZOO_DATA}/xnli/en/test.jsonl"
        tuned = [*options, place, "evaluate.dataset_split=test", *tune]
        return {"nncf": ("nncf_minilm_l6_xnli", tuned)}
    preset = f"minilm_l6_w8a8_{task}"
    tuned = [*options, *named, f"package.name=minilm-l6-nncf-{task}", *tune]
    # From the lowest and the highest value everything at once loses far more than from ranges by signal and noise, and
    # from labels alone it learns far slower than from what the float model says and has in every layer.
    starts = ["aimet.ranges=sqnr", "aimet.calibration_samples=256"]
    inside = ["distill.hidden_weight=1", "distill.layers=all"]
    calmed = [f"aimet.average={AVERAGE[task]}"] if task in AVERAGE else []
    # The configuration takes its ranges from two dozen texts, which are few where texts are as short as CoLA's.
    ranges = [f"tune.range_step={STEP}", "nncf_config=null", "nncf.subset_size=300"] if task in SHORT else []
    eight = [*starts, *TAUGHT, *inside, *learning, *calmed]
    plans = {
        "full": (preset, [*learned, *eight, f"aimet.max_minutes={2 * minutes}"]),
        "deploy": (preset, [*options, *deploy, *eight, f"aimet.max_minutes={minutes}"]),
        "nncf": (nncf, [*tuned, *ranges]),
    }
    if task in DISTILLED:
        plans["nncf-distilled"] = (nncf, [*tuned, *TAUGHT, *ranges])
    return plans


def latencies(folder: Path, task: str, tokens: Sequence[int] = TOKENS, rounds: int = 40) -> list[Timed]:
    """A task's models that `compare` has made, timed in turn on inputs of so many tokens: float, AIMET's and NNCF's.

    Raises:
        UserError: they are not there, or another measurement uses the machine.
    """
    aimet, nncf = folder / f"{task}-deploy" / "package", folder / f"{task}-nncf" / "package"
    results = {
        "fp32": next(aimet.glob(f"*{task}"), aimet),
        "AIMET int8": next(aimet.glob("*-int8"), aimet),
        "NNCF int8": next(nncf.glob("*-int8"), nncf),
    }
    entries = {name: catalog.find(str(place)) for name, place in results.items()}
    batches = {count: passage(load_tokenizer(results["fp32"]), count) for count in tokens}
    calls, threads = {}, get_settings().threads
    for name, entry in entries.items():
        for engine in ("onnxruntime", "openvino") if "int8" in name else ("torch",):
            opened = open_engine(engine, entry, threads)
            for count, batch in batches.items():
                lengths = np.full((1, opened.layers), count, np.int64)
                calls[f"{name}, {engine}@{count}"] = partial(opened.run, batch, lengths)
    with latency.device_lock():
        took = latency.measure(calls, rounds=rounds, warmup=3, seconds=SECONDS)
    parts = ((*name.split("@"), timing) for name, timing in took.items())
    return [Timed(name, int(count), round(t.p50_ms, 3), round(t.p90_ms, 3), t.n) for name, count, t in parts]


def table_of_times(rows: list[Timed]) -> str:
    """The latencies as a Markdown table, with how many times as fast as float they are."""
    exact = {row.tokens: row.p50_ms for row in rows if row.name.startswith("fp32")}
    lines = ["| one input, batch 1 | tokens | p50 (p90) ms | × fp32 |", "|---|--:|--:|--:|"]
    for row in rows:
        times = f"{row.p50_ms:.1f} ({row.p90_ms:.1f}) | {exact[row.tokens] / row.p50_ms:.2f}"
        lines.append(f"| {row.name} | {row.tokens} | {times} |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, and under it the means over GLUE and what the data lack."""
    lines = ["| task | metric | n | fp32 | " + " | ".join(title for _, _, title in COLUMNS.values()) + " |"]
    lines.append("|---|---|--:|--:|" + "--:|" * len(COLUMNS))
    for row in rows:
        title = find_task(row.task).title + ("*" if row.remark else "")
        cells = [_cell(row.scores[way], row.lost(way)) for way in COLUMNS]
        lines.append(f"| {title} | {row.metric} | {row.n:,} | {row.exact:.2f} | {' | '.join(cells)} |")
    glue = [row for row in rows if row.task in EPOCHS]
    if len(glue) > 1:
        cells = []
        for way in COLUMNS:
            scores = [score for row in glue if (score := row.scores[way]) is not None]
            lost = [row.lost(way) or 0.0 for row in glue]
            whole = len(scores) == len(glue)
            cells.append(_cell(statistics.fmean(scores), statistics.fmean(lost)) if whole else "")
        exact = statistics.fmean(row.exact for row in glue)
        lines.append(f"| mean of {len(glue)} of GLUE | | | {exact:.2f} | {' | '.join(cells)} |")
    lines += [f"\n*{find_task(row.task).title}: {row.remark}." for row in rows if row.remark]
    return "\n".join(lines)


def _cell(score: float | None, lost: float | None) -> str:
    return "" if score is None or lost is None else f"{score:.2f} ({-lost:+.2f})"


@app.command("tasks")
def command(
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="cola, sst2 …, squad or xnli_en; by default all")
    ] = None,
    model: Annotated[str, typer.Option(metavar="FOLDER", help="what is fine-tuned, a folder or a Hub id")] = MODEL,
    minutes: Annotated[float, typer.Option(metavar="M", help="of a training in eight bits, more than 0")] = 1.2,
    questions: Annotated[int, typer.Option(min=1, metavar="N", help="of SQuAD to score on")] = 2000,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where the runs go on, by default below the home")
    ] = None,
    path: Json = None,
) -> None:
    """GLUE, SQuAD and XNLI in float and in eight bits, by AIMET and NNCF."""
    if minutes <= 0:
        raise typer.BadParameter("--minutes must be more than 0")
    place = folder or get_settings().home / "bench" / "tasks"
    rows = compare(tasks or TASKS, place, model, minutes=minutes, questions=questions)
    timed = next((row.task for row in reversed(rows) if row.task in EPOCHS), None)
    times = latencies(place, timed) if timed else []
    text = table(rows)
    if timed:
        text += f"\n\nThe models for {timed}:\n\n{table_of_times(times)}"
    figures = {"rows": [asdict(row) for row in rows], "times": [asdict(row) for row in times]}
    report(text, path, {**figures, "machine": latency.machine()})
