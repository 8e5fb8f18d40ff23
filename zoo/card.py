"""Model cards for the Hub: front matter, text and table, all from one Entry; and read back."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import yaml

from zoo import card_files, layouts
from zoo.checkpoints import SIGMOID
from zoo.engines import runs_graph, runs_int8
from zoo.errors import UserError
from zoo.hub import TAG
from zoo.lengths import PAPER_TOKENS
from zoo.metrics import OTHER_KEYS, is_few, listed, metric_name, scores_of, timed_on, whole
from zoo.task_types import TASK_TYPES
from zoo.tasks import EMBEDDINGS, QUESTIONS, RANKING, TEXTS, TOKENS
from zoo.yaml_files import parse_yaml

if TYPE_CHECKING:
    from zoo.catalog import Entry
    from zoo.lengths import Front

# Of the provenance, told in other sections.
ELSEWHERE = ("trained on", "calibrated on", "searched on", "reported on", "base_revision", "zeros", "published")
DATA = (
    ("trained on", "train", "titles"),
    ("calibrated on", "train", "titles"),
    ("searched on", "validation", "validation_titles"),
    ("reported on", "evaluation", "evaluation_titles"),
)  # word of the provenance, key of the recipe, key of its title patterns
USE = {
    QUESTIONS.name: """\
from zoo.ask import QuestionAnswerer
from zoo.catalog import find

reply = QuestionAnswerer(find("{name}"), engine="{engine}").ask("Who ...?", "A passage ...")
print(reply.answers[0])
""",
    TOKENS.name: """\
from zoo.catalog import find
from zoo.tag import TokenTagger

reply = TokenTagger(find("{name}"), engine="{engine}").ask("A text ...", None)
print([(tag.text, tag.label, tag.probability) for tag in reply.tags])
""",
    TEXTS.name: """\
from zoo.catalog import find
from zoo.classify import TextClassifier

verdict = TextClassifier(find("{name}"), engine="{engine}").classify({texts})
print(verdict.words, verdict.labels or verdict.score)
""",
    EMBEDDINGS.name: """\
from zoo.catalog import find
from zoo.embed import TextEmbedder, cosine

vectors = TextEmbedder(find("{name}"), engine="{engine}").embed(["A text ...", "Another ..."])
print(cosine(vectors[:1], vectors[1:]))
""",
    RANKING.name: """\
from zoo.catalog import find
from zoo.rank import PassageRanker

reply = PassageRanker(find("{name}"), engine="{engine}").ask("Who ...?", "A passage ...\\nAnother ...")
print(reply.matches[0])
""",
}  # how to run an entry with this program
FIRST, LAST = ("point", "MACs"), ("p50 ms", "lengths at")  # of the front's table, around the metrics


def render(entry: Entry, repo_id: str | None = None, license: str | None = None, added: Collection[str] = ()) -> str:
    """The card (`README.md`) of an entry: front matter, what it is, scores, front, data, provenance, how to run it.

    Args:
        entry: of the catalog.
        repo_id: where it is published, for the snippet; OWNER/<name> until that is known.
        license: of the base model, where the entry itself states none.
        added: files for other programs that stand beside it, see `zoo.layouts`.
    """
    front_matter = yaml.safe_dump(_metadata(entry, license, added), sort_keys=False, allow_unicode=True)
    made_by = card_files.recipe(entry.folder)
    parts = [f"---\n{front_matter}---", f"# {entry.title}", _summary(entry), _zeros(entry), measured(entry)]
    if entry.front:
        parts.append(_front(entry.front, entry.type.padded))
    parts.append(_data(entry, yaml.safe_load(made_by) if made_by else {}))
    rest = {key: value for key, value in entry.provenance.items() if key not in ELSEWHERE and "titles" not in key}
    if rest:
        parts.append("## Provenance\n\n" + _list(rest))
    if made_by:
        parts.append(f"The recipe, to be run again with `python -m compress run`:\n\n```yaml\n{made_by}```")
    parts.append("## Use\n\n" + _use(entry, repo_id))
    parts.append(layouts.describe(entry, repo_id or f"OWNER/{entry.name}", added))
    return "\n\n".join(part for part in parts if part) + "\n"


def files(
    entry: Entry, repo_id: str | None = None, license: str | None = None, added: Collection[str] = ()
) -> dict[str, bytes]:
    """All that is drawn from an entry's facts, by path in the repository: card, picture, results, recipe; see
    `render`."""
    contents = {"README.md": render(entry, repo_id, license, added).encode()}
    if entry.front:
        contents[card_files.PICTURE] = card_files.picture(entry.front)
    if results := card_files.eval_results(entry):
        contents[f".eval_results/{entry.name.rpartition('/')[2]}.yaml"] = results
    if recipe := card_files.recipe(entry.folder):
        contents[card_files.RECIPE] = recipe.encode()
    return contents


def read(card: str) -> dict[str, Any]:
    """What a card says: its front matter, and what `render` put into it.

    Returns:
        The front matter's keys, and of them `title`, `task`, `metrics` (by metric type), `points` (rows of the front's
        table as `{column: text}`) and `body` (see `body`); empty where the card does not say it.

    Raises:
        UserError: the front matter is no YAML mapping.
    """
    matter, text = _split(card)
    data = parse_yaml(matter, "The card's front matter") or {}
    if not isinstance(data, dict):
        raise UserError("The card's front matter should be a YAML mapping. Correct README.md.")
    results = [result for model in _mappings(data, "model-index") for result in _mappings(model, "results")]
    metrics = [metric for result in results for metric in _mappings(result, "metrics")]
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    tasks = {kind.pipeline: kind.name for kind in TASK_TYPES.values()}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    start = next((i for i, row in enumerate(rows) if _is_head(row)), len(rows))
    columns = rows[start] if start < len(rows) else []
    return {
        **data,
        "title": heading[1].strip() if heading else "",
        "task": tasks.get(str(data.get("pipeline_tag")), ""),
        "metrics": {str(metric["type"]): metric.get("value") for metric in metrics if "type" in metric},
        "points": [dict(zip(columns, row, strict=True)) for row in rows[start + 2 :] if len(row) == len(columns)],
        "body": body(card),
    }


def columns(front: Front, tokens: int = PAPER_TOKENS) -> tuple[str, ...]:
    """Heads of the front's table, its lengths given for inputs of so many tokens."""
    return (*FIRST, *map(metric_name, front.full.metrics), LAST[0], f"{LAST[1]} {tokens}")


def _is_head(row: list[str]) -> bool:
    return len(row) > 4 and tuple(row[:2]) == FIRST and row[-2] == LAST[0] and row[-1].startswith(LAST[1])


def body(card: str) -> str:
    """The card's text for a page, without front matter. Images, which tell their host of each reader, become links."""
    text = _split(card)[1]
    tag = r"<[^>]*\b(src|srcset|href|style|poster|data)\b\s*=[^>]*(>|\Z)"
    text = re.sub(tag, "", text, flags=re.IGNORECASE)
    return re.sub(r"!+\[", "[", text).strip()


def _split(card: str) -> tuple[str, str]:
    front_matter = re.match(r"\A---\s*\n(.*?)^---\s*$", card.replace("\r\n", "\n"), re.DOTALL | re.MULTILINE)
    return (front_matter[1], card.replace("\r\n", "\n")[front_matter.end() :]) if front_matter else ("", card)


def _mappings(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The mappings in a list that a foreign card may have put anything into."""
    value = data.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _metadata(entry: Entry, license: str | None = None, added: Collection[str] = ()) -> dict[str, Any]:
    int8 = runs_int8(entry)
    is_graph = entry.front is not None or runs_graph(entry)
    tags = ["int8", "onnx", "openvino", *(["length-adaptive"] if entry.front else [])] if int8 and is_graph else []
    data: dict[str, Any] = {
        "license": entry.license or license or "other",
        "language": "en",
        "pipeline_tag": entry.type.pipeline,
        "library_name": "onnx" if is_graph else "pytorch" if int8 else "transformers",
        "tags": [TAG, entry.method, *tags, *layouts.tags(entry, added)],
    }
    if entry.base_model:
        data |= {"base_model": entry.base_model, "base_model_relation": "quantized" if int8 else "finetune"}
    facts = {
        "method": entry.method,
        "parameters": entry.parameters,
        "bytes": entry.bytes,
        "p50_ms": entry.front.full.p50_ms if entry.front else entry.metrics.get("p50_ms"),
        "metric": entry.metric,
        "score": None if entry.score is None else round(entry.score, 4),
        "n": whole(entry.metrics.get("n")),
        **_timed(entry),
        "weights": entry.weights_dtype,
        "base_revision": entry.provenance.get("base_revision"),
    }
    data["budget_zoo"] = {key: value for key, value in facts.items() if value}
    dataset = entry.metrics.get("dataset")
    scores = [
        {"type": key, "name": metric_name(key), "value": round(value, 4)}
        for key, value in scores_of(entry.metrics).items()
    ]
    if dataset and scores:
        data["datasets"] = [dataset]
        split = {key: entry.metrics[key] for key in ("config", "split") if entry.metrics.get(key)}
        result = {
            "task": {"type": entry.type.pipeline},
            "dataset": {"type": dataset, "name": dataset, **split},
            "metrics": scores,
        }
        data["model-index"] = [{"name": entry.name, "results": [result]}]
    return data


def _timed(entry: Entry) -> dict[str, Any]:
    """What the latency of the front matter was measured on."""
    stamp = entry.front.measured_on if entry.front else entry.metrics
    has_latency = entry.front.full.p50_ms if entry.front else entry.metrics.get("p50_ms")
    return {"latency_tokens": whole(stamp.get("latency_tokens")), "timed": timed_on(stamp)} if has_latency else {}


def _summary(entry: Entry) -> str:
    facts = {
        "method": entry.method,
        "task": entry.type.pipeline,
        "labels": _labels(entry),
        "made from": _base(entry),
        "parameters": f"{entry.parameters / 1e6:.1f} M" if entry.parameters else "",
        "size on disk": f"{entry.bytes / 1e6:.1f} MB",
        "weights": entry.weights_dtype,
        "runs on": ", ".join(entry.engines),
    }
    return _list({key: value for key, value in facts.items() if value})


def _labels(entry: Entry) -> str:
    """What a classifier says: a label, several at once, or a score."""
    if len(entry.labels) == 1:
        return f"none: it gives a {'probability' if entry.activation == SIGMOID else 'score'}"
    several = " (several may hold at once: each has a probability of its own, by a sigmoid)"
    return ", ".join(entry.labels) + several * (entry.activation == SIGMOID)


def _zeros(entry: Entry) -> str:
    """What a pruned model that was not cut down gains by its zeros, and what not."""
    zeros = entry.provenance.get("zeros")
    keys = ("operators", "model", "bytes", "compressed_bytes")
    if not isinstance(zeros, dict) or not all(isinstance(zeros.get(key), int | float) for key in keys):
        return ""
    return (
        f"Pruning has set {100 * zeros['operators']:.1f} % of the weights in the encoder's linear layers to zero, "
        f"which is {100 * zeros['model']:.1f} % of all parameters. The zeros are stored and multiplied as all other "
        "numbers are, so this model is smaller when compressed, not faster: its weights file takes "
        f"{zeros['bytes'] / 1e6:.1f} MB as it is and {zeros['compressed_bytes'] / 1e6:.1f} MB packed with zlib."
    )


def _base(entry: Entry) -> str:
    if not entry.base_model:
        return ""
    relation = "quantized from it" if runs_int8(entry) else "fine-tuned from it"
    revision = entry.provenance.get("base_revision")
    return f"{entry.base_model}" + (f" at revision {revision}" if revision else "") + f" ({relation})"


def measured(entry: Entry) -> str:
    """The section with the scores of an entry and what they were measured on; empty where there are none."""
    if not entry.metrics:
        return ""
    scores = scores_of(entry.metrics)
    facts = {key: value for key, value in entry.metrics.items() if OTHER_KEYS.get(key, key) not in scores}
    rows = [f"| {metric_name(key)} | {value:.2f} |" for key, value in scores.items()]
    table = "| score | of 100 |\n|---|--:|\n" + "\n".join(rows) + "\n\n" if rows else ""
    if rows and is_few(count := whole(entry.metrics.get("n"))):
        table += f"Of {count} examples only: others would move these scores by points.\n\n"
    # What others published of the method is a sentence in the entry: of which recipes, those who make entries know.
    beside = entry.provenance.get("published")
    return "## Measured\n\n" + table + _list(facts) + (f"\n\n{beside}" if isinstance(beside, str) else "")


def _data(entry: Entry, recipe: dict[str, Any]) -> str:
    """Which data it was trained, searched and reported on, and which articles of them."""
    stated_data = recipe.get("dataset")
    sets: dict[str, Any] = stated_data if isinstance(stated_data, dict) else {}
    rows = {}
    for what, key, titles in DATA:
        # A recipe names data that another method would have trained on, so what was done is the entry's to say.
        source = entry.provenance.get(what) or (sets.get(key) if key == "evaluation" else None)
        keys = (titles, titles.replace("_", " "), f"{what} titles", f"{key} titles")
        patterns = next((entry.provenance[name] for name in keys if entry.provenance.get(name)), sets.get(titles))
        if isinstance(patterns, list):
            patterns = ", ".join(f"`{pattern}`" for pattern in patterns)
        if source:
            # Where nothing is stated of titles, nothing is claimed of them either; texts have none.
            every = ", all articles" if entry.type.has_articles and key in sets and not patterns else ""
            rows[what] = f"{source}, only the articles titled {patterns}" if patterns else f"{source}{every}"
    return "## Data\n\n" + _list(rows) if rows else ""


def _front(front: Front, tokens: int) -> str:
    heads = columns(front, tokens)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for number, point in enumerate(front.everything, 1):
        cells = (
            "full" if point is front.full else str(number),
            f"{100 * point.macs_ratio:.1f} %",
            *(f"{point.metrics[key]:.2f}" if key in point.metrics else "–" for key in front.full.metrics),
            "–" if point.p50_ms is None else f"{point.p50_ms:.1f}",
            point.config.absolute(tokens),
        )
        lines.append("| " + " | ".join(cells) + " |")
    text = (
        "## Budgets\n\nOne int8 graph serves every budget. MACs are a share of the same model at full length on "
        f"**unpadded** inputs.\n\n![{metric_name(front.metric)} against compute](front.png)\n\n" + "\n".join(lines)
    )
    stamp = dict(front.measured_on)
    padded = stamp.pop(f"padded_to_{tokens}", None)
    if padded:
        share, loss = f"{100 * padded['macs_ratio']:.1f} %", padded["loss"]
        lost = f"{abs(loss):.2f} {metric_name(front.metric)} {'below' if loss >= 0 else 'above'} full length"
        text += (
            f"\n\nThe papers count otherwise: token counts at inputs **padded to {tokens}**, where most of what is "
            f"dropped is padding. So counted, the lengths {padded['lengths']} take {share} of the MACs, with "
            f"{listed(padded)}: {lost}. The two shares are not comparable."
        )
    return text + ("\n\nMeasured on:\n\n" + _list(stamp) if stamp else "")


def _use(entry: Entry, repo_id: str | None) -> str:
    name, engine = repo_id or entry.name, entry.engines[0]
    text = f"With Budget Zoo: `zoo.catalog.find({name!r})`."
    if code := USE.get(entry.task):
        code = code.format(name=name, engine=engine, texts=_texts(entry))
        text = f"With Budget Zoo:\n\n```python\n{code}```"
    alone = card_files.snippet(entry, repo_id or f"OWNER/{entry.name}")
    return f"{text}\n\nWithout it:\n\n```python\n{alone}```" if alone else text


def _texts(entry: Entry) -> str:
    """What the snippet classifies: a pair where the entry was measured on pairs."""
    return '"A text ...", "Another ..."' if card_files.is_pair(entry) else '"A text ..."'


def _list(facts: dict[str, Any]) -> str:
    def told(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        if isinstance(value, dict):
            return ", ".join(f"{key} {told(inner)}" for key, inner in value.items())
        return str(value).replace("\n", " ")

    return "\n".join(f"- **{key}**: {told(value)}" for key, value in facts.items())
