"""A secret of the page: what changes something carries it, so that no request of a browser comes from anywhere else.

It stands in the page itself, which no other website can read. It outlives the app, so that pages that are open go on.
"""

from __future__ import annotations

import re
import secrets

from zoo.files import write_text
from zoo.settings import get_settings

HEADER = "x-budget-zoo"


def page_secret() -> str:
    """That of this home; a new one for the life of this process where nothing can be written."""
    path = get_settings().home / "page-secret"
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        kept = ""
    if re.fullmatch(r"[\w-]{43}", kept):
        return kept
    new = secrets.token_urlsafe(32)
    try:
        write_text(path, new)
        path.chmod(0o600)
    except OSError:
        pass  # a full or read-only disk: pages that are open have to be reloaded once the app has started again
    return new
