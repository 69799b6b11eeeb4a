"""Which HDU of a file is meant, by the headers alone."""

import re

from twinjet.model.errors import (
    AmbiguousImageError,
    MalformedFitsError,
    NoImageError,
)
from twinjet.model.fits_headers import HeaderBlock

# Extensions that describe the image beside them, by EXTNAME.
_COMPANION = re.compile(
    r"(?i)(WHT|WEIGHT|WGT|RMS|NOISE|ERR|ERROR|VAR|VARIANCE|UNCERT|MASK|DQ|FLAG|BKG|"
    r"BACKGROUND|MODEL|RESIDUAL|COV|COVERAGE|EXP)S?[_ -]?(MAP)?\d*"
)


def chosen_image(
    blocks: list[HeaderBlock], wanted: int | None
) -> tuple[HeaderBlock, list[str]]:
    """The HDU of the image, and what to say of the choice.

    Raises
    ------
    NoImageError
        No HDU, or not the wanted one, holds a 2-D image.
    AmbiguousImageError
        Several extensions do.
    CutoutError
        The trouble of the HDU where the image must have been.
    """
    images = [block for block in blocks if image_shape(block) is not None]
    trouble = blocks[-1].trouble
    if wanted is not None:
        for block in images:
            if block.number == wanted:
                return block, []
        if trouble is not None and wanted >= blocks[-1].number:
            raise trouble
        images = []
    if not images:
        if trouble is not None:
            raise trouble
        asked = "no HDU" if wanted is None else f"HDU {wanted} is not there or does not"
        verb = "holds" if wanted is None else "hold"
        found = "; ".join(map(described, blocks))
        msg = f"{asked} {verb} a two-dimensional image; found: {found}"
        raise NoImageError(msg)
    chosen = images[0] if images[0].number == 0 else _only(images)
    notes = []
    if len(images) > 1:
        others = "; ".join(described(b) for b in images if b is not chosen)
        notes.append(f"the image of HDU {chosen.number}; also there: {others}")
    if trouble is not None and blocks[-1] is not chosen:
        notes.append(f"HDU {blocks[-1].number} is damaged and was not needed")
    return chosen, notes


def _only(images: list[HeaderBlock]) -> HeaderBlock:
    """The one extension that is no companion of another."""
    likely = [block for block in images if not _COMPANION.fullmatch(_name(block))]
    if len(images) > 1 and len(likely) != 1:
        candidates = [described(block) for block in likely or images]
        msg = (
            f"{len(candidates)} HDUs hold an image: {'; '.join(candidates)}; "
            "choose one with hdu"
        )
        raise AmbiguousImageError(msg, candidates=candidates)
    return (likely or images)[0]


def _name(block: HeaderBlock) -> str:
    return (block.text("EXTNAME") or "").strip()


def described(block: HeaderBlock) -> str:
    """An HDU in words: number, name, type, pixels."""
    shape = image_shape(block)
    what = "no 2-D image" if shape is None else f"{shape[1]} x {shape[0]}"
    name = _name(block)[:30]
    return f"{block.number}{f' ({name})' if name else ''}: {block.kind[:30]}, {what}"


def is_compressed(block: HeaderBlock) -> bool:
    """Whether the HDU is a table of compressed tiles."""
    return block.kind == "BINTABLE" and block.true("ZIMAGE")


def image_shape(block: HeaderBlock) -> tuple[int, int] | None:
    """Rows and columns of the HDU's image; None when it is not one.

    Axes of length 1 are degenerate (Stokes, frequency) wherever they stand; an
    image with more than two real axes is a cube and not a cutout.
    """
    compressed = is_compressed(block)
    if not (compressed or block.kind in {"PRIMARY", "IMAGE"}):
        return None
    try:
        lengths = block.lengths("ZNAXIS" if compressed else "NAXIS")
    except MalformedFitsError:
        return None
    real = [length for length in lengths if length != 1]
    if len(lengths) >= 2 and not real:  # noqa: PLR2004 - two axes
        return 1, 1
    if len(real) == 1 and real[0] and len(lengths) >= 2:  # noqa: PLR2004
        return (1, real[0]) if lengths[0] != 1 else (real[0], 1)
    if len(real) != 2 or min(real) < 1:  # noqa: PLR2004
        return None
    return real[1], real[0]
