"""Data sets of the Hub: the one door to the package datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from compress.data.intake import Intake
from compress.data.places import Spot
from compress.data.tables import Columns, Row
from zoo.errors import UserError
from zoo.safety import check_repo_id


@dataclass(frozen=True)
class Source:
    """A data set as people name it: `owner/name`, `owner/name:split`, `owner/name/config` or `owner/name/config:split`.

    Attributes:
        name: of the repository.
        config: of the data set's configuration, None where none is named.
        split: None where none is named.
    """

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Takes a name apart.

        Raises:
            UserError: it is no name of a data set.
        """
        place, _, split = text.strip().partition(":")
        parts = place.split("/", 2)
        try:
            name = check_repo_id("/".join(parts[:2]))
        except UserError as error:
            raise UserError(
                f"“{text[:100]}” is neither a file nor a data set of the Hub. Write the path of a file that exists, or "
                "owner/name, or owner/name/config:split."
            ) from error
        return cls(name, parts[2] if len(parts) > 2 else None, split or None)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.name, self.config)))


@dataclass(frozen=True)
class HubSet:
    """A split of a data set.

    Attributes:
        rows: in their order; read once.
        names: what numbers, or those in a list, are called, by their column, also in small letters, where the data set
            says it.
        keys: what all columns are called, where the data set says it.
    """

    rows: Iterator[Row]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    keys: tuple[str, ...] = ()

    def names_under(self, column: str, columns: Columns, intake: Intake) -> tuple[str, ...]:
        """Names of the numbers that are read as our `column`, whatever the data set calls it; none where it is silent.

        Args:
            column: our name.
            columns: which the rows are given.
            intake: names those that a person has said.

        Raises:
            UserError: a column that a person names is nowhere.
        """
        if not self.names or (column == "label" and intake.indicators):
            return ()
        ours = columns.renamed(self.keys, intake)
        return next((self.names.get(key, ()) for key in self.keys if ours.get(key, key) == column), ())


def open_set(source: Source, split: str, config: str | None = None, streaming: bool = False) -> HubSet:
    """A split of a data set.

    Args:
        source: the data set.
        split: of it.
        config: the configuration to take where the source names none and the data set has it; where it has one alone,
            that is taken.
        streaming: rows come while they are read, for text that does not fit the disk.

    Raises:
        UserError: no network, or no such data set, configuration or split.
    """
    data = _load(source, split, config, streaming)
    features: Any = getattr(data, "features", None) or {}
    names = {key: some for key, one in features.items() if (some := _names(one))}
    return HubSet(_rows(source, split, data), {key.lower(): names[key] for key in names} | names, tuple(features))


def _names(feature: object) -> tuple[str, ...]:
    """The names of a `ClassLabel`, or of a list of such."""
    inner = getattr(feature, "feature", feature)  # of `Sequence` and `List`
    inner = inner[0] if isinstance(inner, list) and inner else inner
    return tuple(map(str, getattr(inner, "names", None) or ()))


def _rows(source: Source, split: str, data: Any) -> Iterator[Row]:
    try:
        for number, row in enumerate(data):
            yield Row(number, Spot(f"{source}, {split}, row {number}"), row)
    except Exception as error:  # as below: streamed data are loaded here
        raise _failure(source, split, error) from error


def _load(source: Source, split: str, config: str | None, streaming: bool) -> Any:
    import datasets

    config_name, more = source.config or config, {"streaming": True} if streaming else {}
    load: Any = datasets.load_dataset
    try:
        try:
            return load(source.name, config_name, split=split, **more)
        except ValueError as error:
            # The library raises it for a configuration that is not there or that has to be named.
            names = [str(name) for name in datasets.get_dataset_config_names(source.name)]
            if config_name in names or (config_name is None and len(names) < 2) or not names:
                raise
            if source.config or len(names) > 1:
                problem = f"no configuration {source.config!r}" if source.config else "several configurations"
                listing = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
                as_this = f"as {source.name}/{names[0]}:{split}"
                raise UserError(
                    f"The data set {source.name} has {problem}: name one of {listing}, {as_this}."
                ) from error
            return load(source.name, names[0], split=split, **more)
    except UserError:
        raise
    except Exception as error:  # the library raises dozens of kinds, for no network, no such name, no such split
        raise _failure(source, split, error) from error


def _failure(source: Source, split: str, error: Exception) -> UserError:
    reason = (str(error) or repr(error)).splitlines()[0]
    return UserError(
        f"The data set {source} (split {split}) could not be loaded: {reason}. Check the name and the network, or give "
        "a file."
    )
