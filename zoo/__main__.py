"""The command line: `python -m zoo list|ask|pull|convert|publish|export|verify|deploy`."""

from __future__ import annotations

import json
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from zoo import conversion, proposing, publishing, pulling
from zoo.abstaining import MEANING
from zoo.answers import NoAnswer
from zoo.catalog import find
from zoo.commits import follow
from zoo.deploy import Space
from zoo.deploy import deploy as push
from zoo.library import Query, listing
from zoo.metrics import scored
from zoo.task_types import TASK_TYPES

# Read when huggingface_hub is imported: nothing calls home, and no token is used but the one that is passed.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"

import typer  # noqa: E402

from zoo.errors import UserError, ended  # noqa: E402
from zoo.tokens import hide_tokens, redact, standard_token  # noqa: E402

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The models that there are: find, pull and publish them, and put this program on a Space.",
)


ENGINE_HELP = (
    "one of the entry's; auto: they are timed in turn on the first text, and the fastest is taken, now and by default; "
    "else that one, or the entry's first"
)


class Preset(StrEnum):
    """What a Space offers."""

    explorer = "explorer"
    full = "full"


@app.command("list")
def list_(
    text: Annotated[str, typer.Argument(help="words that name, title, base, task or method contain")] = "",
    hub: Annotated[bool, typer.Option("--hub", help="ask the Hub for its models first")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
    task: Annotated[str | None, typer.Option(help=f"one of {', '.join(TASK_TYPES)}")] = None,
    method: Annotated[str | None, typer.Option(help="how it was made")] = None,
    sort: Annotated[str, typer.Option(help="name, score, p50_ms, bytes, ...")] = "name",
    descending: Annotated[bool, typer.Option("--descending", help="largest first")] = False,
) -> None:
    """List the zoo: bundled models, local results, and those of the Hub that are known."""
    table = listing(Query(text, task, method, sort=sort, descending=descending), refresh=hub)
    if as_json:
        typer.echo(json.dumps({"models": [vars(row) for row in table.rows], "banner": table.banner}, indent=1))
        return
    if table.banner:
        typer.echo(table.banner, err=True)
    for row in table.rows:
        size = f"{row.bytes / 1e6:.1f} MB" if row.bytes else ""
        score = "" if row.score is None else scored(row.metric, row.score, row.n)
        cells = (f"{row.name:44}", f"{row.origin:8}", f"{score:>32}", f"{_figure(row.p50_ms, 'ms'):>9}")
        typer.echo("  ".join((*cells, f"{size:>9}", row.title)))


@app.command()
def ask(
    entry: Annotated[str, typer.Argument(help="a bundled name, a folder or a Hub id")],
    first: Annotated[
        str | None,
        typer.Argument(help="a question or a text; without it, lines of standard input, one after the other"),
    ] = None,
    second: Annotated[
        str | None, typer.Argument(help="the passage, the other text of a pair, or lines to compare with or to rank")
    ] = None,
    shared: Annotated[str | None, typer.Option("--second", help="the second text of all lines")] = None,
    second_file: Annotated[
        Path | None, typer.Option("--second-file", exists=True, dir_okay=False, help="the same, from a file")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="percent of the unpadded full model's MACs")] = None,
    config: Annotated[str | None, typer.Option(help='a length configuration: "(315, 251, 242, 159, 142, 33)"')] = None,
    engine: Annotated[str | None, typer.Option(help=ENGINE_HELP)] = None,
    no_answer: Annotated[
        bool | None, typer.Option("--no-answer/--always-answer", help="whether “no answer” may win; else as trained")
    ] = None,
    null_threshold: Annotated[float | None, typer.Option(help=f"{MEANING}; by default the entry's own")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a line, with everything that is said")] = False,
    npy: Annotated[Path | None, typer.Option(help="write embeddings to this file, a row a text")] = None,
) -> None:
    """Ask a model: it answers, labels, tags, embeds or ranks.

    A line of standard input is a first text, or both with a tab between them, or a JSON object with `first` and
    `second`.
    """
    from zoo import asking, fastest

    known, wanted = find(entry, None, standard_token()), NoAnswer(no_answer, null_threshold)
    wanted.of(known)  # what is not heard is refused before anything is read
    lengths = asking.config_of(known, budget, config)
    second = second if shared is None else shared
    if second is None and second_file:
        second = second_file.read_text(encoding="utf-8")
    texts = asking.lines(sys.stdin, second) if first is None else iter([(first, second)])
    if engine == fastest.AUTO:
        engine, why, texts = fastest.by_first(known, texts, lengths)
        typer.echo(why, err=True)
    opened = asking.open_entry(known, engine or fastest.default_engine(known))
    if npy:
        count, width = asking.write_vectors(opened, [one for one, _ in texts], lengths, npy)
        typer.echo(f"{count} vectors of {width} numbers in {npy}")
        return
    for one, other in texts:
        reply = opened.ask(one, other, lengths, wanted)
        if as_json:
            typer.echo(json.dumps(asking.facts_of(reply), ensure_ascii=False))
        else:
            typer.echo(asking.line_of(reply))
            for notice in reply.notices:
                typer.echo(notice, err=True)


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(help="a Hub id: owner/name or owner/name@revision")],
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit")] = None,
) -> None:
    """Download a model, check that this program can load it, and say where it is."""
    token = standard_token()
    folder, commit = pulling.pull(repo, revision, token, typer.echo)
    entry = find(pulling.revision_of(repo, revision)[0], commit, token)
    typer.echo(f"{entry.title} ({entry.task}; runs on {', '.join(entry.engines)}), commit {commit}\n{folder}")


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help="a folder, or a Hub id: owner/name or owner/name@revision")],
    out: Annotated[Path | None, typer.Argument(help="a new folder; by default where the name then finds it")] = None,
) -> None:
    """Write a checkpoint's pickled weights as safetensors, running nothing that the pickle holds."""
    folder = conversion.convert(name, out, standard_token(), typer.echo)
    typer.echo(f"{name if out is None else folder} can be opened now.")


@app.command()
def publish(
    folder: Annotated[str, typer.Argument(help="a folder, or the name of a bundled model or local result")],
    repo: Annotated[
        str | None, typer.Argument(help="where to: owner/name; of a pull request, if it is not the entry's base model")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    public: Annotated[bool, typer.Option("--public", help="for everybody; else private")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be sent, and the card")] = False,
    tag: Annotated[str | None, typer.Option(help="of the commit; by default v1, v2, ...")] = None,
    collection: Annotated[str, typer.Option(help="title of the Collection; empty for none")] = "Budget Zoo",
    with_layouts: Annotated[
        bool, typer.Option("--layouts", help="add what optimum, transformers.js and sentence-transformers open")
    ] = False,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="propose the int8 files to the base model, with what was measured")
    ] = False,
) -> None:
    """Publish a model in one commit, pull it back and compare; or propose its int8 files to its base model."""
    place = _folder(folder)
    token = standard_token() if dry_run else _token()
    if pull_request:
        _propose(place, repo, token, dry_run, yes)
        return
    if repo is None:
        raise UserError("Say where to publish: owner/name.")
    preview = publishing.preview(place, repo, token, private=not public, with_layouts=with_layouts)
    for path, size in preview.files:
        typer.echo(f"{'  same' if path in preview.unchanged else '  new '} {size:>12,}  {path}")
    for notice in preview.notices:
        typer.echo(notice, err=True)
    kind = "private" if preview.private else "public"
    typer.echo(f"{len(preview.files)} files, {preview.total / 1e6:.1f} MB, to the {kind} repository {preview.repo_id}")
    if dry_run:
        typer.echo(f"\n{preview.card}")
        return
    if not yes and not typer.confirm("Publish?"):
        raise UserError("Nothing was published.")
    steps = publishing.publish(
        place, repo, _token(), not public, tag, collection=collection or None, with_layouts=with_layouts
    )
    done = follow(steps, typer.echo)
    for check in done.checks:
        typer.echo(f"  {check}")
    typer.echo(f"{done.url} at {done.commit}{'' if done.changed else ' (nothing had changed)'}")
    if not done.verified:
        raise UserError(f"{repo} was published but is NOT what was sent. Look at the lines above and publish again.")


def _propose(place: Path, base: str | None, token: str | None, dry_run: bool, yes: bool) -> None:
    """The pull request of `publish`, shown first."""
    proposal = proposing.preview(place, token, base)
    for path, size in proposal.files:
        typer.echo(f"{'  over' if path in proposal.replaced else '  new '} {size:>12,}  {path}")
    typer.echo(f"a pull request to {proposal.base}: {proposal.title}")
    if dry_run:
        typer.echo(f"\n{proposal.text}")
        return
    if not yes and not typer.confirm("Propose?"):
        raise UserError("Nothing was proposed.")
    done = follow(proposing.propose(place, _token(), base), typer.echo)
    typer.echo(f"{done.url}{'' if done.new else ' is open already: nothing was sent'}")


@app.command()
def export(
    entry: Annotated[str, typer.Argument(help="a folder, or the name of a bundled model or local result")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
) -> None:
    """Write a model's folder as `publish --layouts` sends it, for other programs on this machine."""
    for name, size in publishing.export(_folder(entry), out):
        typer.echo(f"{size:>12,}  {name}")


def _folder(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else find(name).folder


@app.command()
def verify(
    repo: Annotated[str, typer.Argument(help="a Hub id: owner/name or owner/name@revision")],
    folder: Annotated[Path | None, typer.Option(help="the model here, to compare with")] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit")] = None,
) -> None:
    """Pull a published model and compare it with a folder, or with what the Hub says of it."""
    comparison = publishing.verify(repo, folder, revision, standard_token())
    for check in comparison.checks:
        typer.echo(check)
    if not comparison.ok:
        raise UserError("\n".join(f"NOT VERIFIED: {problem}" for problem in comparison.problems))


@app.command()
def deploy(
    repo: Annotated[str, typer.Argument(help="the Space: owner/name")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would change")] = False,
    preset: Annotated[Preset, typer.Option(help="explorer: look and ask; full: jobs and publishing too")] = (
        Preset.explorer
    ),
    hardware: Annotated[str | None, typer.Option(help="as the Hub names it: cpu-basic, cpu-upgrade, ...")] = None,
    private: Annotated[bool, typer.Option("--private", help="make a new Space private")] = False,
    variable: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, as often as needed")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="NAME; its value comes from the environment")] = None,
    bucket: Annotated[
        str | None, typer.Option(help="owner/name of a storage bucket, in which jobs and results outlive restarts")
    ] = None,
) -> None:
    """Put this program on a Hugging Face Space, or bring one up to date."""
    variables = {}
    for pair in variable or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UserError(f"“{pair}” should be KEY=VALUE.")
        variables[key] = value
    space = Space(preset.value, private, hardware, variables, secret or (), bucket)
    done = push(repo, _token(), space, dry_run, tell=typer.echo)
    new = [(path, size) for path, size in done.files if path not in done.unchanged]
    for path, size in new:
        typer.echo(f"  new  {size:>12,}  {path}")
    for path in done.removed:
        typer.echo(f"  gone {'':>12}  {path}")
    if dry_run:
        for line in done.settings:
            typer.echo(f"  set  {line}")
    size = sum(size for _, size in new) / 1e6
    summary = f"{len(new)} of {len(done.files)} files ({size:.1f} MB) differ, {len(done.removed)} are gone"
    typer.echo(f"{summary}. {'Nothing was done.' if dry_run else f'{done.url} at {done.commit}'}")


def _token() -> str:
    if token := standard_token():
        return token
    raise UserError("You are not signed in. Set HF_TOKEN to a token with write access, or run `hf auth login`.")


def _figure(value: float | None, unit: str) -> str:
    return f"{value:.1f} {unit}" if value is not None else ""


def main() -> None:
    """Runs a command; an error that people are meant to read is told without a traceback."""
    hide_tokens()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with ended(redact):
        app()


if __name__ == "__main__":
    main()
