"""The command line: `python -m bench latency --json FILE`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import distillation as distillation_of
from bench import entries, nas, predictor, profile, prunings, sparse, tasks
from bench import load as load_of
from bench.latency import compare, table
from compress.nas.table import Table, refuse_foreign
from zoo.errors import UserError
from zoo.files import write_json
from zoo.latency import machine, running_job
from zoo.settings import get_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark; the exit status is 0, or 2 with a message where it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    latency = commands.add_parser("latency", help="one question at 384 and at 170 tokens, every engine in turn")
    latency.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as a JSON list")
    latency.add_argument("--rounds", type=int, default=40, metavar="N", help="measure each row up to N times (40)")
    commands.add_parser("profile", help="milliseconds by operator of the bundled model on onnxruntime")
    load = commands.add_parser("load", help="many clients asking the app at once, and what look-ups take meanwhile")
    load.add_argument("--clients", type=int, default=32, metavar="N", help="clients that ask (32)")
    load.add_argument("--seconds", type=float, default=60, metavar="S", help="how long they ask (60)")
    load.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    distillation = commands.add_parser("distillation", help="training with stored and with live teachers in turn")
    distillation.add_argument("--rounds", type=int, default=3, metavar="N", help="epochs of each kind that count (3)")
    distillation.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as a JSON list")
    prunings = commands.add_parser("prunings", help="the ways of pruning, trained with the same short budget")
    prunings.add_argument("--task", default="sst2", help="sst2, another task of GLUE, or squad (sst2)")
    prunings.add_argument("--steps", type=int, default=500, metavar="N", help="steps of every training (500)")
    prunings.add_argument("--warm-steps", type=int, metavar="N", help="steps that make the start of all (as --steps)")
    prunings.add_argument("--sparsity", type=float, default=0.8, metavar="S", help="share of zeros (0.8)")
    prunings.add_argument("--pattern", default="4x1", metavar="P", help="what goes together (4x1)")
    prunings.add_argument("--model", default="minilm-l6-qa", help="checkpoint to start from (minilm-l6-qa)")
    prunings.add_argument("--batch", type=int, default=16, metavar="N", help="examples a step (16)")
    prunings.add_argument("--examples", type=int, default=1000, metavar="N", help="score on so many at most (1000)")
    prunings.add_argument("--json", type=Path, metavar="FILE", help="also write the settings and the rows")
    sparse = commands.add_parser("sparse", help="what zeros are good for: one model pruned in every pattern, timed")
    sparse.add_argument("--model", default="minilm-l6-qa", help="checkpoint to prune (minilm-l6-qa)")
    sparse.add_argument("--sparsity", type=float, default=0.8, metavar="S", help="share of zeros (0.8)")
    sparse.add_argument("--tokens", type=int, default=384, metavar="N", help="tokens of the input (384)")
    sparse.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    tasks = commands.add_parser("tasks", help="GLUE, SQuAD and XNLI in float and in eight bits, by AIMET and NNCF")
    tasks.add_argument("tasks", nargs="*", metavar="TASK", help="cola, sst2 …, squad or xnli_en (all of them)")
    tasks.add_argument("--model", metavar="FOLDER", help="what is fine-tuned (all-MiniLM-L6-v2 from the Hub)")
    tasks.add_argument("--minutes", type=float, default=1.2, metavar="M", help="of a training in eight bits (1.2)")
    tasks.add_argument("--questions", type=int, default=2000, metavar="N", help="of SQuAD to score on (2000)")
    tasks.add_argument("--folder", type=Path, metavar="DIR", help="where the runs go on (below the home)")
    tasks.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    predictor = commands.add_parser("predictor", help="latency predictors on one table, and how fast a table is made")
    predictor.add_argument(
        "--table", type=Path, metavar="FILE", help="table.json of this machine; else one is measured"
    )
    predictor.add_argument("--folder", type=Path, metavar="DIR", help="where a measured one goes on (below the home)")
    predictor.add_argument(
        "--modes", nargs="+", metavar="MODE", help="what to measure (onnxruntime_int8); of a given table all"
    )
    predictor.add_argument("--rows", type=int, default=1000, metavar="N", help="encoders in each mode (1000)")
    predictor.add_argument("--tokens", type=int, default=128, metavar="N", help="tokens of the input (128)")
    predictor.add_argument("--steps", type=int, default=5000, metavar="N", help="of the network's training (5000)")
    predictor.add_argument("--export", type=int, default=0, metavar="N", help="export so many models by themselves (0)")
    predictor.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    nas = commands.add_parser("nas", help="architecture searches and scaled encoders at equal latency and cost")
    nas.add_argument("run", type=Path, metavar="RUN", help="folder of a run of the kind nas, with its predictor")
    nas.add_argument("--limits", nargs="+", type=float, default=[0.35, 0.6], metavar="S", help="shares (0.35 0.6)")
    nas.add_argument("--seeds", type=int, default=3, metavar="N", help="searches of each kind (3)")
    nas.add_argument("--final", choices=("inside", "finetune"), default="inside", help="how choices are made (inside)")
    nas.add_argument("--sample", type=int, default=0, metavar="N", help="fine-tune so many, to compare ranks (0)")
    nas.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    entries = commands.add_parser("entries", help="int8 entries of the zoo beside each other: score and latency")
    entries.add_argument("names", nargs="+", metavar="ENTRY", help="bundled names, folders or Hub ids")
    entries.add_argument("--tokens", nargs="+", type=int, default=[128], metavar="N", help="of the input (128)")
    entries.add_argument("--points", type=int, default=4, metavar="N", help="of a front, beside full length (4)")
    entries.add_argument("--engine", choices=("onnxruntime", "openvino"), default="onnxruntime", help="(onnxruntime)")
    entries.add_argument("--json", type=Path, metavar="FILE", help="also write the rows")
    chosen = parser.parse_args(arguments)
    if chosen.command in ("latency", "distillation") and chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    if chosen.command == "load" and (chosen.clients < 1 or chosen.seconds <= 0):
        parser.error("--clients must be at least 1 and --seconds more than 0")

    if chosen.command == "prunings" and min(chosen.steps, chosen.batch, chosen.examples) < 1:
        parser.error("--steps, --batch and --examples must be at least 1")
    if chosen.command == "entries" and (chosen.points < 0 or min(chosen.tokens) < 16):
        parser.error("--points must not be negative, --tokens at least 16")
    if chosen.command == "tasks" and (chosen.minutes <= 0 or chosen.questions < 1):
        parser.error("--minutes must be more than 0 and --questions at least 1")

    try:
        if chosen.command == "profile":
            print(profile.table(profile.profile()))
            print(f"\n{json.dumps(machine())}")
            return 0
        if chosen.command == "load":
            runs = load_of.run(chosen.clients, chosen.seconds)
            print(load_of.table(*runs))
            print(f"\n{json.dumps(machine())}")
            if chosen.json:
                write_json(chosen.json, dict(zip(("steady", "burst"), map(load_of.as_json, runs), strict=True)))
            return 0
        if chosen.command == "distillation":
            trained = distillation_of.compare(rounds=chosen.rounds)
            print(distillation_of.table(trained))
            print(f"\n{json.dumps(machine())}")
            if chosen.json:
                write_json(chosen.json, distillation_of.as_json(trained))
            return 0
        if chosen.command == "prunings":
            return _prunings(chosen)
        if chosen.command == "sparse":
            return _sparse(chosen)
        if chosen.command == "tasks":
            return _tasks(chosen)
        if chosen.command == "predictor":
            return _predictor(chosen)
        if chosen.command == "nas":
            return _nas(chosen)
        if chosen.command == "entries":
            return _entries(chosen)
        rows = compare(rounds=chosen.rounds)
        print(table(rows))
        print(f"\n{json.dumps(machine())}")
        if chosen.json:
            write_json(chosen.json, [asdict(row) for row in rows])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _prunings(chosen: argparse.Namespace) -> int:
    settings = prunings.Settings(
        task=chosen.task,
        steps=chosen.steps,
        warm_steps=chosen.warm_steps or chosen.steps,
        sparsity=chosen.sparsity,
        pattern=chosen.pattern,
        model=chosen.model,
        batch=chosen.batch,
        examples=chosen.examples,
    )
    rows = prunings.compare(settings)
    print(prunings.table(rows))
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        facts = {"settings": asdict(settings), "rows": [asdict(row) for row in rows], "machine": machine()}
        write_json(chosen.json, facts)
    return 0


def _sparse(chosen: argparse.Namespace) -> int:
    rows = sparse.compare(chosen.model, chosen.sparsity, chosen.tokens)
    print(sparse.table(rows))
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        write_json(chosen.json, {"rows": [asdict(row) for row in rows], "machine": machine()})
    return 0


def _tasks(chosen: argparse.Namespace) -> int:
    folder = chosen.folder or get_settings().home / "bench" / "tasks"
    named = chosen.tasks or tasks.TASKS
    rows = tasks.compare(named, folder, chosen.model or tasks.MODEL, minutes=chosen.minutes, questions=chosen.questions)
    print(tasks.table(rows))
    timed = next((row.task for row in reversed(rows) if row.task in tasks.EPOCHS), None)
    times = tasks.latencies(folder, timed) if timed else []
    if timed:
        print(f"\nThe models for {timed}:\n\n{tasks.table_of_times(times)}")
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        facts = {"rows": [asdict(row) for row in rows], "times": [asdict(row) for row in times]}
        write_json(chosen.json, {**facts, "machine": machine()})
    return 0


def _predictor(chosen: argparse.Namespace) -> int:
    if chosen.table:
        made = Table.load(chosen.table)
        refuse_foreign(made.machine, "The latency table")
    else:
        folder = chosen.folder or get_settings().home / "bench" / f"latency-table-{chosen.tokens}"
        made = predictor.make_table(chosen.modes or ["onnxruntime_int8"], chosen.rows, folder, chosen.tokens)
    rows = predictor.compare(made, chosen.steps, modes=chosen.modes)
    print(predictor.shown(rows))
    speed = predictor.pace(predictor.MINILM, chosen.export, chosen.tokens) if chosen.export else None
    if speed:
        print(
            f"\n{speed.direct:.1f} rows a minute, {speed.exported:.1f} with {speed.encoders} models exported by "
            f"themselves: {speed.ratio:.1f} times; medians {speed.apart:.1f} % apart"
        )
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        facts = {"rows": [asdict(row) for row in rows], "pace": asdict(speed) if speed else None, "machine": machine()}
        write_json(chosen.json, facts)
    return 0


def _nas(chosen: argparse.Namespace) -> int:
    with running_job():
        bench = nas.Bench(chosen.run, chosen.final)
        rows = bench.rows(chosen.limits, range(chosen.seeds))
        agreement = bench.agreement(chosen.sample) if chosen.sample else None
    print(nas.shown(rows, bench.metric))
    if agreement:
        print(f"\n{len(agreement.keys)} encoders inside the supernet and fine-tuned: Spearman {agreement.spearman:.3f}")
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        write_json(chosen.json, {**nas.as_json(rows, agreement), "machine": machine()})
    return 0


def _entries(chosen: argparse.Namespace) -> int:
    rows = entries.compare(chosen.names, chosen.tokens, chosen.points, chosen.engine)
    print(entries.table(rows))
    print(f"\n{json.dumps(machine())}")
    if chosen.json:
        write_json(chosen.json, {"rows": [asdict(row) for row in rows], "machine": machine()})
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
