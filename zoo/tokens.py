"""Access tokens of the Hub: where one comes from, and how none gets into a log."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from zoo.lazily import Lazy
from zoo.settings import get_settings

if TYPE_CHECKING:
    import huggingface_hub
else:
    huggingface_hub = Lazy("huggingface_hub")

_TOKEN = re.compile(r"hf_(?:(?:oauth|jwt)_[\w.\-]{4,}|[A-Za-z0-9]{8,})")
_formatter = logging.Formatter()


def redact(text: str) -> str:
    """The text with everything that looks like a token of the Hub cut down to `hf_…`."""
    return _TOKEN.sub("hf_…", text) if "hf_" in text else text


def hide_tokens() -> None:
    """From now on no log record of this process holds a token, whatever logger or handler it takes.

    A filter would have to be on every handler, and libraries add their own; records are all made in one place.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "hides_tokens", False):
        return

    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        _clean(record)
        return record

    factory.hides_tokens = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def standard_token() -> str | None:
    """The token of `HF_TOKEN` or of the standard login of huggingface_hub; None where there is none.

    On a Space always None: the host's token is not the visitor's.
    """
    if get_settings().on_space:
        return None
    return huggingface_hub.get_token()


def _clean(record: logging.LogRecord) -> None:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a record that cannot be formatted is the handler's to report
        return
    if (clean := redact(text)) != text:
        record.msg, record.args = clean, ()
    # A record that was not made by a logger may hold `True` here.
    is_trace = isinstance(record.exc_info, tuple)  # pyright: ignore[reportUnnecessaryIsInstance]
    if record.exc_info and not record.exc_text and is_trace:
        trace = _formatter.formatException(record.exc_info)
        if (clean := redact(trace)) != trace:
            record.exc_text = clean
