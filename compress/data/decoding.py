"""The bytes of people's files as text: UTF-8 and UTF-16, with or without a byte order mark, and Windows-1252."""

from __future__ import annotations

import codecs
import re

from compress.data.intake import Intake
from zoo.errors import UserError

MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
HIGH = re.compile(rb"[\x80-\xff]")
LETTERS = re.compile(rb"[A-Za-z\x80-\xff]")
MOST_HIGH = 0.3  # of the letters: more than in any language that Windows-1252 is for
SAMPLE = 4096  # bytes that show whether there is a NUL in every second place
SHOWN = re.compile(r"[^\s,;\"]*[^\x00-\x7f][^\s,;\"]*")


def decode(raw: bytes, intake: Intake, by_lines: bool = True) -> str:
    """A file's bytes as text, without a byte order mark.

    What is neither UTF-8 nor UTF-16 is Windows-1252 where it can be: the notice shows a word of it.

    Args:
        raw: the bytes.
        intake: names the file, and hears what was decided; `skip` leaves lines out that cannot be decoded.
        by_lines: a line can be left out without making the rest unreadable.

    Raises:
        UserError: it is no text, or a line of it cannot be decoded; the message names the line.
    """
    encoding = next((name for mark, name in MARKS.items() if raw.startswith(mark)), None) or _unmarked(raw)
    try:
        text = raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding and encoding != "utf-8-sig":
            line = raw[: error.start].decode(encoding, errors="ignore").count("\n") + 1
            raise UserError(f"{intake.name}, line {line}: this is broken {encoding.upper()}. Save as UTF-8.") from error
        text = _windows(raw, intake)
        if text is None:
            line = raw.count(b"\n", 0, error.start) + 1
            fault = UserError(f"{intake.name}, line {line}: this is not UTF-8 text. Save the file as UTF-8.")
            if not (intake.skip and by_lines):
                raise fault from error
            text = _by_lines(raw, intake)
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        text = _without_nul(text, intake, by_lines)
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text  # as old Macs end lines


def _unmarked(raw: bytes) -> str | None:
    """UTF-16 without a mark, of which Latin text shows by its NULs."""
    head = raw[: min(len(raw), SAMPLE) // 2 * 2]
    if len(head) < 8:
        return None
    even, odd = head[::2].count(0) / (len(head) / 2), head[1::2].count(0) / (len(head) / 2)
    return "utf-16-le" if odd > 0.7 and even < 0.1 else "utf-16-be" if even > 0.7 and odd < 0.1 else None


def _windows(raw: bytes, intake: Intake) -> str | None:
    """The text in Windows-1252; None where it is rather broken UTF-8, or of another kind."""
    high = len(HIGH.findall(raw))
    if SEQUENCE.search(raw) or high > MOST_HIGH * len(LETTERS.findall(raw)):
        return None
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    word = SHOWN.search(text)
    line, shown = (text.count("\n", 0, word.start()) + 1, word.group()[:40]) if word else (1, "")
    intake.note(
        f"It is no UTF-8 and was read as Windows-1252: check that “{shown}” in line {line} is right, or save the file "
        "as UTF-8."
    )
    return text


def _by_lines(raw: bytes, intake: Intake) -> str:
    """The lines that are UTF-8, with empty ones in the places of the others."""
    lines: list[str] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            intake.fault(UserError(f"{intake.name}, line {number}: this is not UTF-8 text. Save the file as UTF-8."))
            lines.append("")
    return "\n".join(lines)


def _without_nul(text: str, intake: Intake, by_lines: bool) -> str:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            fault = UserError(f"{intake.name}, line {number}: a NUL stands here. Remove it.")
            if not by_lines:
                raise fault
            intake.fault(fault)
            lines[number - 1] = ""
    return "\n".join(lines)
