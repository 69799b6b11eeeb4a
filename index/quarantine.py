"""Generations that were found damaged: nobody opens them again, nobody removes them.

A mark beside the files says why, and which files it is about: once they are others,
put back from a backup say, they are looked at again.
"""

import json
from contextlib import suppress
from pathlib import Path

from twinjet.index.durable import half_done, publish_file
from twinjet.index.errors import GenerationDamagedError
from twinjet.index.generation import MARK, stamps_of


def mark_damaged(folder: Path, reason: str) -> None:
    """Write down what is wrong with a generation, for all who would open it."""
    if damage_of(folder) is not None or not folder.is_dir():
        return
    written = half_done(folder / MARK)
    mark = {"reason": reason, "stamps": stamps_of(folder, marked=False)}
    # Where it cannot be written every process finds out for itself.
    with suppress(OSError):
        written.write_text(json.dumps(mark) + "\n", encoding="utf-8")
        publish_file(written, folder / MARK)


def damage_of(folder: Path) -> str | None:
    """What was found to be wrong with a generation's files, as they are now."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        reason, stamps = str(mark["reason"]), mark["stamps"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Whoever wrote it meant something.
        return f"{folder / MARK} says that it is damaged, and cannot be read"
    now = json.loads(json.dumps(stamps_of(folder, marked=False)))
    return reason if stamps == now else None


def refuse_marked(folder: Path) -> None:
    """Keep from a generation that was found damaged.

    Raises
    ------
    GenerationDamagedError
        It was, and its files are still the same.
    """
    reason = damage_of(folder)
    if reason is not None:
        raise GenerationDamagedError(reason)


def clear_mark(folder: Path) -> None:
    """Its files are whole again."""
    with suppress(OSError):
        (folder / MARK).unlink(missing_ok=True)
