"""YAML that comes from people and from elsewhere: values alone, without what makes much of little."""

from __future__ import annotations

from typing import Any

import yaml

from zoo.errors import UserError
from zoo.files import MAX_DEPTH

MAX_YAML = 1024**2  # characters


class Plain(yaml.SafeLoader):
    """Reads plain values: no aliases, since ten lines of them stand for a billion values once they are written out."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            place = self.peek_event().start_mark
            raise yaml.YAMLError(f"an alias (*name) in line {place.line + 1}: write the values out")
        if self.depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def parse_yaml(text: str, where: str) -> Any:
    """What YAML text holds.

    Args:
        text: of at most `MAX_YAML` characters.
        where: it stands, for the message.

    Raises:
        UserError: it is too long, nested too deep, or no YAML of plain values.
    """
    if len(text) > MAX_YAML:
        raise UserError(f"{where} has {len(text):,} characters, over the limit of {MAX_YAML:,}. Shorten it.")
    try:
        return yaml.load(text, Plain)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        # Beside its own the package raises what Python does over dates and numbers that are none.
        raise UserError(f"{where} is not valid YAML: {str(error) or type(error).__name__}. Correct it.") from error
