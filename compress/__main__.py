"""The command line: recipes run here (`run`) or in the background (`submit`, `jobs`, ...), and entries scored."""

from __future__ import annotations

import getpass
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from compress.data import uploads
from compress.data.intake import Intake
from compress.data.own_texts import SECOND
from compress.jobs import jobs
from compress.jobs.estimate import estimate, in_words
from compress.jobs.goals import about, by_goal, lacking
from compress.jobs.launchers import price_of
from compress.jobs.ledger import Job, get_ledger
from compress.jobs.queue import serve
from compress.progress import Progress
from compress.recipe.load import describe, load, shipped
from compress.run.run import run as run_recipe
from zoo.abstaining import MEANING
from zoo.errors import UserError, ended
from zoo.files import write_json
from zoo.metrics import listed
from zoo.tasks import find_task

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make models smaller and faster, by recipes.",
)

OwnData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        exists=True,
        dir_okay=False,
        help="your own file in the place of the recipe's data: questions as SQuAD JSON, JSON Lines, CSV or TSV; texts "
        "with labels, of the recipe's task or of `--set dataset.task=`, as JSON Lines, CSV or TSV",
    ),
]
Skip = Annotated[
    bool,
    typer.Option(
        "--skip", help="leave lines of the data out that are wrong, and say how many; else the first stops it"
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", help="what your data call a column: text=review, label=stars; second= for none"),
]
Label = Annotated[
    list[str] | None, typer.Option("--label", help="what your data have for a label of this name: positive=1")
]


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(help="a shipped recipe's name, a YAML file, or the folder of an earlier run")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(help="where the run lives, by default the given one; an interrupted one goes on there"),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="run this stage only")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a key: finetune.epochs=1")] = None,
    nncf_config: Annotated[Path | None, typer.Option(help="of a recipe of kind nncf: NNCF's JSON file")] = None,
    to_onnx: Annotated[
        Path | None, typer.Option(help="of a recipe of kind nncf: write what it has quantized to this file")
    ] = None,
    data: OwnData = None,
    skip: Skip = False,
    column: Column = None,
    label: Label = None,
) -> None:
    """Run a recipe, or one stage of it."""
    if folder is None:
        folder = Path(recipe).expanduser()
        if not (folder / "recipe.yaml").is_file():
            raise UserError("Say where the run is to live: --folder FOLDER.")
    changes = [
        *_own_data(recipe, data, _intake(data, skip, column, label), set_),
        *(set_ or ()),
        *([f"nncf_config={json.dumps(str(nncf_config))}"] if nncf_config else []),
    ]
    results = run_recipe(load(recipe, changes), folder, stage)
    for name, result in results.items():
        _tell_facts(name, result)
    if to_onnx:
        from compress.nncf.stages import to_onnx as write_onnx

        _tell_facts(to_onnx, write_onnx(folder, to_onnx))


@app.command("list")
def list_() -> None:
    """List the recipes that ship with the program, by what they are for; ✗ says what one lacks here."""
    for goal, names in by_goal().items():
        typer.echo(f"\n{goal[:1].upper()}{goal[1:]}")
        for name in names:
            typer.echo(f"  {name:34}{about(name)}")
            if without := lacking(name):
                typer.echo(f"  {'':34}✗ {without}")


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|JOB", help="a recipe's name, a YAML file, or a job")],
) -> None:
    """Show every key of a recipe, with its value and its meaning; or how a job stands."""
    if recipe not in shipped() and get_ledger().has(recipe):
        _tell(recipe)
    else:
        typer.echo(describe(load(recipe)), nl=False)


@app.command()
def submit(
    recipe: Annotated[
        str, typer.Argument(help="a shipped recipe's name, a YAML file, an earlier run's folder, or a job to repeat")
    ],
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a key: finetune.epochs=1")] = None,
    launcher: Annotated[
        str,
        typer.Option(
            help="local, torchrun, torchrun:N, ray, or hf-job:FLAVOR for a machine of the Hub; its price is told"
        ),
    ] = "local",
    name: Annotated[str, typer.Option(help="what to call it; by default the recipe's name")] = "",
    data: OwnData = None,
    skip: Skip = False,
    column: Column = None,
    label: Label = None,
) -> None:
    """Queue a recipe for a worker in the background; prints the job's id."""
    repeated = jobs.find(recipe) if recipe not in shipped() and get_ledger().has(recipe) else None
    source = repeated.folder if repeated else recipe
    default = repeated.name if repeated else recipe if recipe in shipped() else Path(recipe).stem
    made = load(source, [*_own_data(source, data, _intake(data, skip, column, label), set_), *(set_ or ())])
    if price := price_of(launcher):
        typer.echo(price, err=True)
        if sys.stdin.isatty():
            typer.confirm("Start it?", abort=True, err=True)
    typer.echo(jobs.submit(made, name or default, _user(), launcher).id)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="a shipped recipe's name, a YAML file, or an earlier run's folder")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a key: finetune.epochs=1")] = None,
    data: OwnData = None,
    skip: Skip = False,
    column: Column = None,
    label: Label = None,
) -> None:
    """Say what a recipe will take here, or why it cannot run: task, model and data are looked at, nothing starts."""
    made = load(recipe, [*_own_data(recipe, data, _intake(data, skip, column, label), set_), *(set_ or ())])
    jobs.check(made, _user())
    typer.echo(f"{recipe} can run here: it takes {in_words(estimate(made))}.")


@app.command("jobs")
def jobs_(as_json: Annotated[bool, typer.Option("--json", help="for programs: every field")] = False) -> None:
    """List all jobs, newest first."""
    if ill := jobs.illness():
        typer.echo(ill, err=True)
    if as_json:
        typer.echo(json.dumps([job.to_dict() for job in jobs.jobs()], indent=1))
        return
    for job in jobs.jobs():
        share = f" {job.stage} {job.step}/{job.total}" if job.state == "running" and job.stage else ""
        typer.echo(f"{job.id}  {_when(job.created)}  {job.state:16} {job.name}{share}{_because(job)}")


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="its id")],
    lines: Annotated[int, typer.Option(min=1, help="so many, from the end")] = 200,
) -> None:
    """Print the last lines of a job's log."""
    typer.echo(jobs.logs(job, lines))


@app.command()
def cancel(job: Annotated[str, typer.Argument(help="its id")]) -> None:
    """End a job; what it has made stays."""
    typer.echo(jobs.cancel(job).state)


@app.command()
def retry(job: Annotated[str, typer.Argument(help="its id")]) -> None:
    """Queue a failed or cancelled job again; it goes on from what it has made."""
    typer.echo(jobs.retry(job).state)


@app.command()
def worker(
    idle: Annotated[float | None, typer.Option(min=0, help="end after so many seconds without a job")] = None,
) -> None:
    """Run jobs until ended. The app and `submit` start one by themselves."""
    serve(idle)


@app.command()
def evaluate(
    entry: Annotated[str, typer.Option(help="a bundled name, a folder or a Hub id")],
    eval_file: Annotated[
        str,
        typer.Option(
            help="questions or a classifier's texts: a file (JSON, JSON Lines, CSV, TSV), a folder of them, a Hub id "
            "such as owner/name/config:split, `examples`, or `hub`"
        ),
    ],
    json_file: Annotated[Path, typer.Option("--json", help="where to write the scores")],
    budget: Annotated[float | None, typer.Option(help="percent of the unpadded full model's MACs")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="torch, torch-bf16, onnxruntime, openvino or openvino-bf16; by default the entry's first"),
    ] = None,
    config: Annotated[str | None, typer.Option(help='a length configuration: "(315, 251, 242, 159, 142, 33)"')] = None,
    max_questions: Annotated[
        int | None, typer.Option(min=1, help="score on so many questions or texts, drawn at random")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="for example sst2, or squad_v2 where “no answer” may win; by default its own")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="of a classifier that does not name its outputs: entailment,neutral,contradiction"),
    ] = None,
    null_threshold: Annotated[
        float | None, typer.Option(help=f"of questions that may have no answer: {MEANING}; by default the entry's own")
    ] = None,
    quantsim: Annotated[
        bool, typer.Option("--quantsim", help="fp32 and what AIMET or NNCF simulated of it; a run's folder, too")
    ] = False,
    into_card: Annotated[
        bool, typer.Option("--into-card", help="write the scores into the entry's card; it is a folder of yours")
    ] = False,
    skip: Skip = False,
    column: Column = None,
    label: Label = None,
) -> None:
    """Score an entry on questions or texts that it was not trained on."""
    from compress.results.record import check_recordable, record
    from compress.results.score import score_entry
    from compress.tasks.subject import Asked

    source = _intake(eval_file, skip, column, label)
    asked = Asked(task, [label.strip() for label in labels.split(",")] if labels else None, null_threshold)
    if quantsim:
        from compress.results.simulated import score_simulated, side_by_side

        if budget is not None or config or engine or into_card:
            raise UserError(
                "--quantsim scores at full length, in torch, and into no card: leave --budget, --config, --engine and "
                "--into-card out."
            )
        report = score_simulated(entry, source, max_questions, task=asked)
        write_json(json_file, report)
        typer.echo(side_by_side(report))
        return
    if into_card:
        check_recordable(entry, budget, config)
    report = score_entry(entry, source, budget, config, engine, max_questions, task=asked)
    write_json(json_file, report)
    if into_card:
        record(entry, report)
    for notice in report["notices"]:
        typer.echo(notice, err=True)
    typer.echo(f"{listed(report)} on {report['n']} {find_task(report['task']).type.noun}")


@app.command()
def sensitivity(
    entry: Annotated[str, typer.Argument(help="a bundled name, a folder or a Hub id")],
    eval_file: Annotated[
        str | None, typer.Option(help="SQuAD-format JSON file, a file of texts, or a Hub id; by default `examples`")
    ] = None,
    task: Annotated[str | None, typer.Option(help="of a classifier, for example sst2")] = None,
    questions: Annotated[int, typer.Option(min=1, help="measure on so many, drawn at random")] = 32,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="ranges found anew in every run")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the table for programs")] = None,
) -> None:
    """Show what each product of a model would suffer from eight bits, the others in float."""
    from compress.int8.sensitivity import of_entry

    with Progress(None, f"sensitivity of {entry}") as progress:
        approach = "dynamic" if dynamic else "static"
        report = of_entry(entry, eval_file, questions, approach, task=task, progress=progress.update)
    if json_file:
        write_json(json_file, report.to_dict())
    typer.echo(report.table())


@app.command()
def extract(
    supernet: Annotated[Path, typer.Argument(help="folder of a finished stage supernet or tune")],
    arch: Annotated[str, typer.Argument(help="layers, width, feed-forward width and heads: l4-h256-f1024-a8")],
    folder: Annotated[Path, typer.Argument(help="where the checkpoint goes")],
) -> None:
    """Cut an encoder out of a supernet: a plain checkpoint that transformers loads."""
    from compress.nas.extract import extract_from

    _tell_facts(folder, extract_from(supernet, arch, folder))


def _intake(source: object, skip: bool, columns: list[str] | None, labels: list[str] | None) -> Intake:
    """How data are read, by the options that say so."""
    return Intake(str(source or ""), skip, _pairs("--column", columns, SECOND), _pairs("--label", labels))


def _pairs(option: str, words: list[str] | None, may_lack: str = "") -> dict[str, str]:
    """`["text=review"]` -> `{"text": "review"}`; `second=` says that there is none, where `may_lack` is `second`."""
    pairs = [word.partition("=") for word in words or () if not may_lack or word.strip() != f"{may_lack}="]
    none = {may_lack: ""} if len(pairs) < len(words or ()) else {}
    if wrong := [ours for ours, _, theirs in pairs if not ours.strip() or not theirs.strip()]:
        raise UserError(f"Write {option} NAME=YOURS, for example {option} text=review: got {wrong[0]!r}.")
    return none | {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _own_data(recipe: str | Path, data: Path | None, intake: Intake, changes: list[str] | None) -> list[str]:
    """Changes that put somebody's own file in the place of a recipe's data, or say how these are read."""
    if data is None:
        said = {"columns": intake.columns, "label_values": intake.values}
        mapped = [f"dataset.{key}={json.dumps(value)}" for key, value in said.items() if value]
        return [*(["dataset.skip=true"] if intake.skip else []), *mapped]
    base = load(recipe)
    pairs = [change.partition("=") for change in changes or ()]
    tasks = [value.strip() for key, _, value in pairs if key.strip() == "dataset.task"]
    task = tasks[-1] if tasks else base.dataset.task
    upload = uploads.accept(data, "", task, intake.skip, intake.columns, intake.values)
    for line in (upload.told, *upload.notices):
        typer.echo(line, err=True)
    return uploads.assignments(upload, base)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return ""


def _tell(job_id: str) -> None:
    job = jobs.find(job_id)
    typer.echo(f"{job.id}  {job.name} ({job.kind} of {job.model}, {job.launcher})")
    typer.echo(f"{job.state}{_because(job)}")
    typer.echo(f"submitted {_when(job.created)}" + (f", started {_when(job.started)}" if job.started else ""))
    typer.echo(f"folder {job.folder}")
    for stage in jobs.stages(job_id):
        seconds = f" {stage['seconds']:.0f} s" if stage["seconds"] is not None else ""
        typer.echo(f"  {stage['name']:12} {stage['state']}{seconds}")
    for entry in jobs.results(job_id):
        typer.echo(f"made {entry}")
    if job.published:
        typer.echo(f"published as {job.published}")
    if job.state == "failed":
        typer.echo(jobs.logs(job_id, 20))


def _because(job: Job) -> str:
    return f": {job.reason}" if job.reason else ""


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _tell_facts(name: str | Path, facts: Mapping[str, object]) -> None:
    typer.echo(f"{name}: " + ", ".join(f"{key} {_short(value)}" for key, value in facts.items()))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Runs a command; an error that people are meant to read is told without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with ended():
        app()


if __name__ == "__main__":
    main()
