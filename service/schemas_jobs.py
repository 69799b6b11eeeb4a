"""What goes over the wire about jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from twinjet.index.checks import MAX_FAILED_FRACTION
from twinjet.index.cutouts.paths import split_kind
from twinjet.index.jobs.jobs import Job
from twinjet.index.jobs.progress import Progress
from twinjet.index.jobs.request import ReindexRequest

_MAX_PATH = 4096


def _text(value: str) -> str:
    """Text that a database and a file system take."""
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        msg = "it has a NUL, or half a character of UTF-16"
        raise ValueError(msg)
    return value


def _path(value: str) -> str:
    """A path that is the same for every worker, whatever folder it was started in."""
    if not value.startswith("/") and split_kind(value)[0] is None:
        msg = "it is relative; write the whole path, from /, or another location"
        raise ValueError(msg)
    return value


# The patterns are for the description; what is refused is told in words.
_Text = Annotated[
    str, AfterValidator(_text), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
]
_Location = Annotated[
    _Text,
    AfterValidator(_path),
    Field(json_schema_extra={"pattern": r"^(/|[a-z][a-z0-9+]+:)[^\x00]*$"}),
]


class ReindexIn(BaseModel):
    """What is to be indexed; paths are those of the workers' machines."""

    model_config = ConfigDict(extra="forbid")

    cutouts: Annotated[
        _Location,
        Field(
            min_length=1,
            max_length=_MAX_PATH,
            description="Folder, archive, stack, mosaic or public archive of cutouts",
            examples=["/data/mirabest", "first:?cache=/data/first"],
        ),
    ]
    catalogue: Annotated[
        _Location | None,
        Field(
            min_length=1,
            max_length=_MAX_PATH,
            description="Table of sources; what is with the cutouts when absent",
        ),
    ] = None
    name: Annotated[
        _Text | None,
        Field(min_length=1, max_length=200, description="Of the catalogue"),
    ] = None
    mapping: Annotated[
        dict[_Text, _Text],
        Field(max_length=20, description="Word of ours to column of the table"),
    ] = {}
    pixel_scale_arcsec: Annotated[
        float | None,
        Field(gt=0, le=3600, description="Of cutouts without WCS"),
    ] = None
    encoder: Annotated[
        _Text | None,
        Field(
            max_length=_MAX_PATH,
            description="Shipped encoder or card; that of the workers when absent",
        ),
    ] = None
    max_failed_fraction: Annotated[
        float, Field(ge=0, le=1, description="Part of the sources that may fail")
    ] = MAX_FAILED_FRACTION
    max_removed_fraction: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="Part of the current generation that may be gone"
        ),
    ] = None
    force: Annotated[
        bool, Field(description="Publish although checks are not passed")
    ] = False

    def request(self) -> ReindexRequest:
        """As the job takes it."""
        return ReindexRequest(**self.model_dump())


class ProgressOut(BaseModel):
    """How far the present stage is."""

    stage: str
    done: int
    total: int | None
    rate_per_s: float | None
    seconds_left: float | None

    @classmethod
    def of(cls, seen: Progress) -> Self:
        """On the wire."""
        return cls(
            stage=seen.stage,
            done=seen.done,
            total=seen.total,
            rate_per_s=_rounded(seen.rate_per_s),
            seconds_left=_rounded(seen.seconds_left),
        )


class JobLinks(BaseModel):
    """Where there is more about a job."""

    self: str
    events: str
    generation: str | None


class JobOut(BaseModel):
    """A job at one moment."""

    id: str
    kind: Literal["reindex"] = "reindex"
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    catalogue: str
    created_at: datetime
    finished_at: datetime | None
    worker: str | None
    progress: ProgressOut | None
    report: dict[str, Any] | None
    error: str | None
    links: JobLinks

    @classmethod
    def of(cls, job: Job, root: str) -> Self:
        """On the wire; `root` is the service's path prefix."""
        seen = job.progress
        number = None if job.report is None else job.report["number"]
        here = f"{root}/jobs/{job.id}"
        return cls(
            id=job.id,
            state=job.state,
            catalogue=job.request.catalogue_name,
            created_at=job.created_at,
            finished_at=job.finished_at,
            worker=job.worker,
            progress=None if seen is None else ProgressOut.of(seen),
            report=job.report,
            error=job.error,
            links=JobLinks(
                self=here,
                events=f"{here}/events",
                generation=None if number is None else f"{root}/generations/{number}",
            ),
        )


class JobsOut(BaseModel):
    """Jobs, the last one first."""

    jobs: list[JobOut]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
