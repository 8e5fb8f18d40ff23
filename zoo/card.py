"""Model cards for the Hub: front matter, text and table, all from one Entry; and read back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from zoo import card_files
from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.catalog import Entry
    from zoo.lengths import Front

TAG = "budget-zoo"
TASKS = {"qa": "question-answering", "classification": "text-classification"}
SCORES = {
    "f1": "F1",
    "em": "EM",
    "exact_match": "EM",
    "accuracy": "accuracy",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}
# Of the provenance, told in other sections.
ELSEWHERE = ("trained on", "calibrated on", "searched on", "reported on", "base_revision")
DATA = (
    ("trained on", "train", "titles"),
    ("calibrated on", "train", "titles"),
    ("searched on", "validation", "validation_titles"),
    ("reported on", "evaluation", "evaluation_titles"),
)  # word of the provenance, key of the recipe, key of its title patterns
COLUMNS = ("point", "MACs", "F1", "EM", "p50 ms", "lengths at 384")


def render(entry: Entry, repo_id: str | None = None, license: str | None = None) -> str:
    """The card (`README.md`) of an entry: front matter, what it is, scores, front, data, provenance, how to run it.

    Args:
        entry: of the catalog.
        repo_id: where it is published, for the snippet; OWNER/<name> until that is known.
        license: of the base model, where the entry itself states none.
    """
    front_matter = yaml.safe_dump(_metadata(entry, license), sort_keys=False, allow_unicode=True)
    made_by = card_files.recipe(entry.folder)
    parts = [f"---\n{front_matter}---", f"# {entry.title}", _summary(entry), _scores(entry)]
    if entry.front:
        parts.append(_front(entry.front))
    parts.append(_data(entry, yaml.safe_load(made_by) if made_by else {}))
    rest = {key: value for key, value in entry.provenance.items() if key not in ELSEWHERE and "titles" not in key}
    if rest:
        parts.append("## Provenance\n\n" + _list(rest))
    if made_by:
        parts.append(f"The recipe, to be run again with `python -m compress run`:\n\n```yaml\n{made_by}```")
    parts.append("## Use\n\n" + _use(entry, repo_id))
    return "\n\n".join(part for part in parts if part) + "\n"


def files(entry: Entry, repo_id: str | None = None, license: str | None = None) -> dict[str, bytes]:
    """All that is drawn from an entry's facts, by path in the repository: card, picture, results, recipe."""
    made = {"README.md": render(entry, repo_id, license).encode()}
    if entry.front:
        made[card_files.PICTURE] = card_files.picture(entry.front)
    if results := card_files.eval_results(entry):
        made[f".eval_results/{entry.name.rpartition('/')[2]}.yaml"] = results
    if recipe := card_files.recipe(entry.folder):
        made[card_files.RECIPE] = recipe.encode()
    return made


def read(card: str) -> dict[str, Any]:
    """What a card says: its front matter, and what `render` put into it.

    Returns:
        The front matter's keys, and of them `title`, `task`, `metrics` (by metric type), `points` (rows of the front's
        table as `{column: text}`) and `body` (see `body`); empty where the card does not say it.

    Raises:
        UserError: the front matter is no YAML mapping.
    """
    matter, text = _split(card)
    try:
        data = yaml.safe_load(matter) or {}
    except yaml.YAMLError as error:
        raise UserError(f"The card's front matter is not valid YAML: {error}. Correct README.md.") from error
    if not isinstance(data, dict):
        raise UserError("The card's front matter should be a YAML mapping. Correct README.md.")
    results = [result for model in _mappings(data, "model-index") for result in _mappings(model, "results")]
    metrics = [metric for result in results for metric in _mappings(result, "metrics")]
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    tasks = {there: here for here, there in TASKS.items()}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    start = next((i for i, row in enumerate(rows) if row == list(COLUMNS)), len(rows))
    return {
        **data,
        "title": heading[1].strip() if heading else "",
        "task": tasks.get(str(data.get("pipeline_tag")), ""),
        "metrics": {str(metric["type"]): metric.get("value") for metric in metrics if "type" in metric},
        "points": [dict(zip(COLUMNS, row, strict=True)) for row in rows[start + 2 :] if len(row) == len(COLUMNS)],
        "body": body(card),
    }


def body(card: str) -> str:
    """The card's text for a page, without front matter. Images, which tell their host of each reader, become links."""
    text = _split(card)[1]
    tag = r"<[^>]*\b(src|srcset|href|style|poster|data)\b\s*=[^>]*(>|\Z)"
    text = re.sub(tag, "", text, flags=re.IGNORECASE)
    return re.sub(r"!+\[", "[", text).strip()


def _split(card: str) -> tuple[str, str]:
    found = re.match(r"\A---\s*\n(.*?)^---\s*$", card.replace("\r\n", "\n"), re.DOTALL | re.MULTILINE)
    return (found[1], card.replace("\r\n", "\n")[found.end() :]) if found else ("", card)


def _mappings(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The mappings in a list that a foreign card may have put anything into."""
    found = data.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _metadata(entry: Entry, license: str | None = None) -> dict[str, Any]:
    int8 = "onnxruntime" in entry.engines
    data: dict[str, Any] = {
        "license": entry.license or license or "other",
        "language": "en",
        "pipeline_tag": TASKS[entry.task],
        "library_name": "onnx" if int8 else "transformers",
        "tags": [TAG, entry.method, *(["int8", "onnx", "openvino", "length-adaptive"] if int8 and entry.front else [])],
    }
    if entry.base_model:
        data |= {"base_model": entry.base_model, "base_model_relation": "quantized" if int8 else "finetune"}
    facts = {
        "method": entry.method,
        "parameters": entry.parameters,
        "bytes": entry.bytes,
        "p50_ms": entry.front.full.p50_ms if entry.front else entry.metrics.get("p50_ms"),
        "f1": round(float(entry.metrics["f1"]), 4) if "f1" in entry.metrics else None,
        "weights": entry.weights_dtype,
        "base_revision": entry.provenance.get("base_revision"),
    }
    data["budget_zoo"] = {key: value for key, value in facts.items() if value}
    dataset = entry.metrics.get("dataset")
    scores = [
        {"type": key, "name": SCORES[key], "value": round(float(entry.metrics[key]), 4)}
        for key in SCORES
        if key in entry.metrics
    ]
    if dataset and scores:
        data["datasets"] = [dataset]
        split = {"split": entry.metrics["split"]} if entry.metrics.get("split") else {}
        result = {
            "task": {"type": TASKS[entry.task]},
            "dataset": {"type": dataset, "name": dataset, **split},
            "metrics": scores,
        }
        data["model-index"] = [{"name": entry.name, "results": [result]}]
    return data


def _summary(entry: Entry) -> str:
    facts = {
        "method": entry.method,
        "task": TASKS[entry.task],
        "made from": _base(entry),
        "parameters": f"{entry.parameters / 1e6:.1f} M" if entry.parameters else "",
        "size on disk": f"{entry.bytes / 1e6:.1f} MB",
        "weights": entry.weights_dtype,
        "runs on": ", ".join(entry.engines),
    }
    return _list({key: value for key, value in facts.items() if value})


def _base(entry: Entry) -> str:
    if not entry.base_model:
        return ""
    relation = "quantized from it" if "onnxruntime" in entry.engines else "fine-tuned from it"
    revision = entry.provenance.get("base_revision")
    return f"{entry.base_model}" + (f" at revision {revision}" if revision else "") + f" ({relation})"


def _scores(entry: Entry) -> str:
    if not entry.metrics:
        return ""
    facts = dict(entry.metrics)
    rows = [f"| {SCORES[key]} | {float(facts.pop(key)):.2f} |" for key in SCORES if key in facts]
    table = "| score | of 100 |\n|---|--:|\n" + "\n".join(rows) + "\n\n" if rows else ""
    return "## Measured\n\n" + table + _list(facts)


def _data(entry: Entry, recipe: dict[str, Any]) -> str:
    """Which data it was trained, searched and reported on, and which articles of them."""
    stated_data = recipe.get("dataset")
    named: dict[str, Any] = stated_data if isinstance(stated_data, dict) else {}
    found = {}
    for what, key, titles in DATA:
        # A recipe names data that another method would have trained on, so what was done is the entry's to say.
        source = entry.provenance.get(what) or (named.get(key) if key == "evaluation" else None)
        stated = (titles, titles.replace("_", " "), f"{what} titles", f"{key} titles")
        patterns = next((entry.provenance[name] for name in stated if entry.provenance.get(name)), named.get(titles))
        if isinstance(patterns, list):
            patterns = ", ".join(f"`{pattern}`" for pattern in patterns)
        if source:
            # Where nothing is stated of titles, nothing is claimed of them either.
            every = ", all articles" if key in named and not patterns else ""
            found[what] = f"{source}, only the articles titled {patterns}" if patterns else f"{source}{every}"
    return "## Data\n\n" + _list(found) if found else ""


def _front(front: Front) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for number, point in enumerate(front.everything, 1):
        cells = (
            "full" if point is front.full else str(number),
            f"{100 * point.macs_ratio:.1f} %",
            f"{point.f1:.2f}",
            f"{point.em:.2f}",
            "–" if point.p50_ms is None else f"{point.p50_ms:.1f}",
            point.config.absolute(),
        )
        lines.append("| " + " | ".join(cells) + " |")
    text = (
        "## Budgets\n\nOne int8 graph serves every budget. MACs are a share of the same model at full length on "
        "**unpadded** inputs.\n\n![F1 against compute](front.png)\n\n" + "\n".join(lines)
    )
    stamp = dict(front.measured_on)
    padded = stamp.pop("padded_to_384", None)
    if padded:
        share, loss = f"{100 * padded['macs_ratio']:.1f} %", f"{padded['loss']:.2f}"
        text += (
            "\n\nThe papers count otherwise: token counts at inputs **padded to 384**, where most of what is dropped "
            f"is padding. So counted, the lengths {padded['lengths']} take {share} of the MACs, with F1 "
            f"{padded['f1']:.2f} and EM {padded['em']:.2f}: {loss} F1 below full length. The two shares are not "
            "comparable."
        )
    return text + ("\n\nMeasured on:\n\n" + _list(stamp) if stamp else "")


def _use(entry: Entry, repo_id: str | None) -> str:
    name, engine = repo_id or entry.name, entry.engines[0]
    text = f"With Budget Zoo: `zoo.catalog.find({name!r})`."
    if entry.task == "qa":
        text = (
            "With Budget Zoo:\n\n```python\nfrom zoo.ask import QuestionAnswerer\nfrom zoo.catalog import find\n\n"
            f'reply = QuestionAnswerer(find("{name}"), engine="{engine}").ask("Who ...?", "A passage ...")\n'
            "print(reply.answers[0])\n```"
        )
    if entry.task == "classification":
        text = (
            "With Budget Zoo:\n\n```python\nfrom zoo.catalog import find\nfrom zoo.classify import TextClassifier\n\n"
            f'verdict = TextClassifier(find("{name}"), engine="{engine}").classify("A text ...")\n'
            "print(verdict.labels or verdict.score)\n```"
        )
    alone = card_files.snippet(entry, repo_id or f"OWNER/{entry.name}")
    return text + (f"\n\nWithout it:\n\n```python\n{alone}```" if alone else "")


def _list(facts: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        if isinstance(value, dict):
            return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items())
        return str(value).replace("\n", " ")

    return "\n".join(f"- **{key}**: {shown(value)}" for key, value in facts.items())
