"""The program of a decoder of cutouts."""

import math
from typing import Any

from PIL import Image, MpoImagePlugin, TiffImagePlugin

from twinjet.model.decode import read_cutout
from twinjet.model.preprocess import Preprocess
from twinjet.service.decoding import child
from twinjet.service.decoding.sandbox import IMAGE

# Imported by Pillow itself for the EXIF of a JPEG, and for one of several images.
_PLUGINS = (MpoImagePlugin, TiffImagePlugin)


def decoded(task: dict[str, Any], data: bytes) -> child.Answer:
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


if __name__ == "__main__":
    Image.preinit()
    child.main(decoded, IMAGE)
