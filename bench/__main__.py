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
    chosen = parser.parse_args(arguments)
    if chosen.command == "latency" and chosen.rounds < 1:
        parser.error("--rounds must be at least 1")

    from bench import profile
    from bench.latency import compare, table
    from zoo.files import write_json
    from zoo.latency import machine

    try:
        if chosen.command == "profile":
            print(profile.table(profile.profile()))
            print(f"\n{json.dumps(machine())}")
            return 0
        rows = compare(rounds=chosen.rounds)
        print(table(rows))
        print(f"\n{json.dumps(machine())}")
        if chosen.json:
            write_json(chosen.json, [asdict(row) for row in rows])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
