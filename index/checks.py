"""What is asked of a generation before it is published, and what was found."""

from dataclasses import asdict, dataclass, field
from typing import Any

from twinjet.index.diff import Diff
from twinjet.index.errors import VerificationError

# More failures than this say that something is wrong with the whole, such as a
# folder that is not mounted.
MAX_FAILED_FRACTION = 0.2

# What is wrong of itself, and not in somebody's opinion.
_DAMAGE = {"files", "counts", "encoder", "engine", "rows", "vectors"}


@dataclass(frozen=True)
class Limits:
    """What a generation must keep to; each is passed over only by force."""

    min_recall: float = 0.95
    """Recall at 10 of the index against exact search."""
    max_removed: float = 0.2
    """Part of the earlier generation's sources that may be gone."""
    min_kept_neighbours: float = 0.9
    """Of ten neighbours of sources whose vector did not change, by the same encoder,
    counting the sources that both generations have."""
    max_lost_quality: float = 0.1
    """By which the part of neighbours of the same class may fall."""
    min_self_similarity: float = 0.999
    """Of a source's vector with that of its cutout, embedded once more."""
    max_lost_canaries: float = 0.1
    """Part of the cutouts to be embedded once more that may be away, or replaced since;
    one may always, if it is not the only one."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str
    value: float | None = None
    limit: float | None = None

    @property
    def is_damage(self) -> bool:
        """Whether no force can make it right."""
        return self.name in _DAMAGE


@dataclass(frozen=True)
class Verification:
    """What was found of a generation before it was published."""

    checks: list[Check] = field(default_factory=list)
    diff: Diff | None = None
    """From the generation that was current, if of the same catalogue."""
    kept_neighbours: float | None = None
    """Part of ten neighbours that the current generation gives too."""
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    """By column of classes: part of ten neighbours of the same class, and by chance."""

    @property
    def failed(self) -> list[Check]:
        """What speaks against publishing."""
        return [check for check in self.checks if not check.passed]

    def passed_over(self, *, force: bool) -> list[str]:
        """Names of the checks that are not passed and do not stop it.

        Raises
        ------
        VerificationError
            A check stops it: any without force, damage whatever is said; the message
            names all that were not passed.
        """
        failed = self.failed
        if failed and not (force and not any(check.is_damage for check in failed)):
            named = "; ".join(f"{check.name}: {check.detail}" for check in failed)
            msg = f"not published: {named}"
            raise VerificationError(msg, limit=failed[0].limit, actual=failed[0].value)
        return [check.name for check in failed]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
