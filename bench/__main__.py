"""The command line: `python -m bench latency --json FILE`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from zoo.errors import UserError


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
    chosen = parser.parse_args(arguments)
    if chosen.command in ("latency", "distillation") and chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    if chosen.command == "load" and (chosen.clients < 1 or chosen.seconds <= 0):
        parser.error("--clients must be at least 1 and --seconds more than 0")

    if chosen.command == "prunings" and min(chosen.steps, chosen.batch, chosen.examples) < 1:
        parser.error("--steps, --batch and --examples must be at least 1")

    from bench import distillation as distillation_of
    from bench import load as load_of
    from bench import profile
    from bench.latency import compare, table
    from zoo.files import write_json
    from zoo.latency import machine

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
    from bench import prunings
    from zoo.files import write_json
    from zoo.latency import machine

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


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
