"""Questions: from a file, from the Hub, or the bundled ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from compress.data import hub_sets, questions
from compress.data.examples import Example
from compress.data.intake import Intake
from compress.data.tables import is_table, read_rows, read_text, suffix_of
from zoo.catalog import MODELS

BUNDLED = "examples"  # names the questions that ship with the program


def load_squad(
    source: str | Path, split: str = "train", titles: Sequence[str] | None = None, intake: Intake | None = None
) -> list[Example]:
    """Reads questions and checks that every answer stands where it is said to stand.

    Args:
        source: a file: JSON in SQuAD format (v1.1 or v2.0), or a list of paragraphs or of questions; JSON Lines, CSV or
            TSV of questions. Or a Hub data set, see `compress.data.hub_sets.Source`; or `examples` for the bundled
            questions.
        split: of a Hub data set whose name does not say one.
        titles: glob patterns; only articles whose title fits one are taken.
        intake: hears what was mended and left out; without one the log does.

    Returns:
        Examples in the order of the source.

    Raises:
        UserError: not found, no network, a question that is wrong (the message names the place), or nothing is left.
    """
    hears, intake = intake is not None, intake or Intake()
    intake.name = intake.name or str(source)
    path = Path(source).expanduser()
    if str(source) == BUNDLED:
        rows = from_file(MODELS / "examples.json", intake)
    elif path.is_file() or is_table(path) or path.is_absolute():
        rows = from_file(path, intake)
    else:
        of_hub = hub_sets.Source.parse(str(source))
        raw = hub_sets.open_set(of_hub, of_hub.split or split).rows
        rows = questions.examples(questions.COLUMNS.rename(raw, intake), intake)
    examples = [e for e in rows if not titles or any(fnmatchcase(e.title, pattern) for pattern in titles)]
    if not examples:
        chosen = f" in articles titled {' or '.join(titles)}" if titles else ""
        raise intake.nothing(f"{source} has no questions{chosen}. Take other data or other titles.")
    if not hears:
        intake.log()
    return examples


def from_file(path: Path, intake: Intake, suffix: str | None = None) -> Iterator[Example]:
    """The questions of a file.

    Args:
        path: of the file.
        intake: names it, and hears what was mended.
        suffix: says what the file is where its own name does not.
    """
    text = read_text(path, intake)
    return questions.examples(read_rows(text, suffix or suffix_of(path), questions.COLUMNS, intake), intake)


def fingerprint(examples: Iterable[Example]) -> set[str]:
    """What identifies the passages: 12 hexadecimal digits of each one's SHA-1, blanks made alike."""
    contexts = {example.context for example in examples}
    return {hashlib.sha1(" ".join(context.split()).encode()).hexdigest()[:12] for context in contexts}
