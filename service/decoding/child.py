"""The program of a decoder: files come on standard input, which is a socket.

Imports neither torch nor a database nor a web framework: it starts in a second and
takes 100 MB.
"""

import gc
import math
import socket
import traceback
from collections.abc import Callable
from typing import Any

from astropy.utils import iers
from PIL import Image, MpoImagePlugin, TiffImagePlugin

from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError
from twinjet.model.preprocess import Preprocess
from twinjet.service.decoding import sandbox
from twinjet.service.decoding.wire import MAX_TEXT, receive, send

Answer = tuple[dict[str, Any], bytes]
Work = Callable[[dict[str, Any], bytes], Answer]


def main(work: Work | None = None) -> None:
    """Decode what comes until the line is closed.

    Parameters
    ----------
    work
        Done with each task and its file, inside the sandbox; `decoded` when None.
    """
    line = socket.socket(fileno=0)
    _load()
    filtered = sandbox.enter()
    send(line, {"kind": "ready", "filtered": filtered})
    while (asked := receive(line)) is not None:
        sandbox.allow_cpu()
        task, data = asked
        send(line, *_answered(work or decoded, task, data))


def decoded(task: dict[str, Any], data: bytes) -> Answer:
    """What the encoder needs of a file.

    Parameters
    ----------
    task
        ``recipe`` (of `Preprocess.to_dict`), ``pixel_scale_arcsec`` and ``hdu`` (as
        for `read_cutout`).
    data
        The file.

    Returns
    -------
    dict
        As `twinjet.service.decoding.replies.Prepared`.
    bytes
        The image, float32 in the order of this machine.
    """
    recipe = Preprocess.from_dict(task["recipe"])
    scale, hdu = task["pixel_scale_arcsec"], task["hdu"]
    cutout = read_cutout(data, pixel_scale_arcsec=scale, hdu=hdu)
    prepared = recipe(cutout)
    centre = cutout.centre()
    notes = list(cutout.notes)
    if cutout.wcs is not None and centre is None:
        notes.append("the WCS gives no position in ICRS")
    head = {
        "kind": "prepared",
        "side": prepared.image.shape[0],
        "noise": prepared.noise,
        "peak_snr": prepared.peak_snr if math.isfinite(prepared.peak_snr) else None,
        "position": None if centre is None else [centre.ra.deg, centre.dec.deg],
        "has_scale": cutout.pixel_scale_arcsec is not None,
        "notes": notes,
        "preparation_notes": prepared.notes,
    }
    return head, prepared.image.tobytes()


def _answered(work: Work, task: dict[str, Any], data: bytes) -> Answer:
    try:
        return work(task, data)
    except CutoutError as exc:
        return _refusal(exc), b""
    except MemoryError:
        return {"kind": "failed", "cause": "MemoryError", "at": ""}, b""
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is told to the parent
        # Where, never what: the text of an exception has bytes of the file.
        last = traceback.extract_tb(exc.__traceback__)[-1]
        at = f"{last.name} in {last.filename.rpartition('/')[2]}:{last.lineno}"
        return {"kind": "failed", "cause": type(exc).__name__, "at": at}, b""


def _refusal(exc: CutoutError) -> dict[str, Any]:
    return {
        "kind": "refused",
        "error": type(exc).__name__,
        "message": str(exc)[:MAX_TEXT],
        "parameter": exc.parameter,
        "limit": exc.limit,
        "actual": exc.actual,
        "candidates": getattr(exc, "candidates", None),
    }


# Imported by Pillow itself for the EXIF of a JPEG, and for one of several images.
_PLUGINS = (MpoImagePlugin, TiffImagePlugin)


def _load() -> None:
    """Read what would be read with the first files: later no file can be opened."""
    Image.preinit()
    # Tables of the Earth's rotation are not fetched for a stranger's header.
    iers.conf.auto_download = False
    # What is there now stays: nobody's file is to wait while it is looked through.
    gc.freeze()


if __name__ == "__main__":
    main()
