"""Sources and generations in SQL; SQLite on one machine, PostgreSQL beyond."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import event
from sqlalchemy.orm import InstrumentedAttribute, Session

from twinjet.index.errors import (
    DatabaseDamagedError,
    GenerationGoneError,
    StoreError,
    UnknownGenerationError,
    UnknownSourceError,
)
from twinjet.index.names import source_key
from twinjet.index.paging import page_of
from twinjet.index.regions import Cone, Region
from twinjet.index.row_digest import digest_of_rows
from twinjet.index.schema import GenerationRow, PublicationRow, SourceRow
from twinjet.index.sky import healpix_cells, separation_arcsec, unit_vectors
from twinjet.index.source import Column, Source
from twinjet.index.where import parse_where

# Parameters of one statement; SQLite takes 32,766.
_BLOCK = 1000

# A text of as many rows is 9 MB; a database takes 1 GB.
_ROWS_OF_A_TEXT = 1_000_000

READY = "ready"
BUILDING = "building"
GONE = "gone"


@dataclass(frozen=True)
class Generation:
    """One build of the index, as the store knows it."""

    number: int
    state: str
    """``building`` or ``ready``."""
    encoder_id: str
    catalogue_name: str
    catalogue_digest: str
    source_count: int
    folder: str
    """Name of its folder, when it is ready."""
    columns: tuple[Column, ...]
    """Measured columns of its sources."""
    created_at: datetime
    published_at: datetime | None
    """The last time it became the current one."""
    report: dict[str, Any] | None = field(default=None, compare=False)
    """Of its verification."""
    job_id: str | None = None
    """Of the job that builds or built it, if one does."""
    forced: str | None = None
    """Checks that it did not pass, and that somebody chose to pass over."""
    manifest_sha256: str | None = field(default=None, compare=False)
    """Of its manifest as it was written; None of one made by an earlier version."""
    rows_sha256: str | None = field(default=None, compare=False)
    """Of its rows, from `twinjet.index.row_digest`; None as above."""


class _Published(NamedTuple):
    """What is known of the publications of a generation."""

    generation: int
    at: datetime
    forced: str | None


class SourceStore:
    """Sources of every generation.

    Parameters
    ----------
    engine
        From `twinjet.index.database.create_engine`, migrated.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)

    @property
    def engine(self) -> sa.Engine:
        """Of the database."""
        return self._engine

    def close(self) -> None:
        """Close all connections; those that are in use, when they come back."""
        event.listen(self._engine, "checkin", lambda _, record: record.invalidate())
        self._engine.dispose()

    # Generations

    def begin_generation(
        self,
        *,
        encoder_id: str,
        catalogue_name: str,
        catalogue_digest: str,
        columns: Sequence[Column],
        job_id: str | None = None,
    ) -> int:
        """Register a build that starts; returns its number.

        A job that was interrupted gets the number that it had, without the sources.
        """
        with Session(self._writer) as session, session.begin():
            if job_id is not None:
                mine = sa.select(GenerationRow).where(
                    GenerationRow.job_id == job_id, GenerationRow.state == BUILDING
                )
                row = session.scalars(mine).first()
                if row is not None:
                    session.execute(
                        sa.delete(SourceRow).where(SourceRow.generation == row.number)
                    )
                    return row.number
            last = session.scalar(sa.select(sa.func.max(GenerationRow.number))) or 0
            row = GenerationRow(
                number=last + 1,
                state=BUILDING,
                encoder_id=encoder_id,
                catalogue_name=catalogue_name,
                catalogue_digest=catalogue_digest,
                columns=[asdict(column) for column in columns],
                created_at=datetime.now(UTC),
                job_id=job_id,
            )
            session.add(row)
            return row.number

    def add_sources(
        self,
        number: int,
        first_row: int,
        sources: Sequence[Source],
        digests: Sequence[str] | None = None,
    ) -> None:
        """Add sources of a build, whose rows follow one another from `first_row`.

        `digests` are those of their cutouts, by which a later build sees what changed.
        """
        ra = np.array([source.ra for source in sources])
        dec = np.array([source.dec for source in sources])
        vectors, cells = unit_vectors(ra, dec).tolist(), healpix_cells(ra, dec).tolist()
        rows = [
            {
                "generation": number,
                "row": first_row + place,
                "source_id": source.source_id,
                "source_key": source_key(source.source_id),
                "ra": source.ra,
                "dec": source.dec,
                "x": vector[0],
                "y": vector[1],
                "z": vector[2],
                "healpix": cell,
                "survey": source.survey,
                "cutout": source.cutout,
                "cutout_digest": None if digests is None else digests[place],
                "columns": dict(source.columns),
            }
            for place, (source, vector, cell) in enumerate(
                zip(sources, vectors, cells, strict=True)
            )
        ]
        with self._writer.begin() as connection:
            connection.execute(sa.insert(SourceRow), rows)

    def seal(self, number: int, manifest_sha256: str) -> None:
        """Write down what a build's manifest and rows are, now that both are there."""
        rows_sha256 = digest_of_rows(self._engine, number)
        with Session(self._writer) as session, session.begin():
            row = session.get_one(GenerationRow, number)
            row.manifest_sha256, row.rows_sha256 = manifest_sha256, rows_sha256

    def set_report(self, number: int, report: dict[str, Any]) -> None:
        """Keep what the verification of a build found."""
        with Session(self._writer) as session, session.begin():
            session.get_one(GenerationRow, number).report = report

    def publish_build(
        self,
        number: int,
        *,
        source_count: int,
        folder: str,
        forced: str | None = None,
    ) -> None:
        """A build is whole: make it the current one, all in one transaction.

        Parameters
        ----------
        number, source_count, folder
            Of the build.
        forced
            Checks that it does not pass and that somebody chose to pass over.

        Raises
        ------
        StoreError
            The rows of its sources are not as many as they should be.
        """
        with Session(self._writer) as session, session.begin():
            held = session.scalar(_count(number))
            if held != source_count:
                msg = f"generation {number} has {held} sources, not {source_count}"
                raise StoreError(msg, limit=source_count, actual=held)
            row = session.get_one(GenerationRow, number)
            if row.state == READY:  # by a job that was interrupted just after
                return
            row.state, row.source_count, row.folder = READY, source_count, folder
            session.add(_publication(number, forced))

    def publish(self, number: int) -> None:
        """Make an earlier generation the current one again.

        Raises
        ------
        UnknownGenerationError
            There is none of this number, or it is not ready.
        """
        with Session(self._writer) as session, session.begin():
            row = session.get(GenerationRow, number, with_for_update=True)
            if row is None or row.state != READY:
                msg = f"generation {number} is not ready to be published"
                raise UnknownGenerationError(msg, actual=number)
            session.add(_publication(number))

    def current(self) -> Generation | None:
        """The generation that was published last."""
        with Session(self._engine) as session, self._readable():
            number = session.scalar(_last_published())
        return None if number is None else self.generation(number)

    def generations(self) -> list[Generation]:
        """All of them, the latest first."""
        published = {p.generation: p for p in self._published()}
        with Session(self._engine) as session, self._readable():
            rows = session.scalars(
                sa.select(GenerationRow)
                .where(GenerationRow.state != GONE)
                .order_by(GenerationRow.number.desc())
            )
            return [_generation(row, published.get(row.number)) for row in rows]

    def gone(self) -> set[int]:
        """Numbers of those that were removed; none is ever given again."""
        with Session(self._engine) as session, self._readable():
            removed = GenerationRow.state == GONE
            return {*session.scalars(sa.select(GenerationRow.number).where(removed))}

    def generation(self, number: int) -> Generation:
        """One generation.

        Raises
        ------
        UnknownGenerationError
            There is none of this number.
        GenerationGoneError
            It is no longer kept.
        """
        published = {p.generation: p for p in self._published(number)}
        with Session(self._engine) as session, self._readable():
            row = session.get(GenerationRow, number)
            if row is not None and row.state == GONE and number in published:
                raise GenerationGoneError(number)
            if row is None or row.state == GONE:
                msg = f"no generation {number}"
                raise UnknownGenerationError(msg, actual=number)
            return _generation(row, published.get(number))

    def drop_generation(self, number: int) -> None:
        """Remove a generation and its sources.

        Raises
        ------
        StoreError
            It is the current one.
        """
        with Session(self._writer) as session, session.begin():
            # Who publishes it takes the row, too: before this, or not at all.
            row = session.get(GenerationRow, number, with_for_update=True)
            if session.scalar(_last_published()) == number:
                msg = f"generation {number} is the current one and stays"
                raise StoreError(msg, actual=number)
            session.execute(sa.delete(SourceRow).where(SourceRow.generation == number))
            if row is not None:
                # The row stays: no other generation may ever have this number, for
                # another machine may still have its files.
                row.state, row.job_id = GONE, None

    # Sources

    def row_of(self, number: int, source_id: str) -> tuple[int, Source]:
        """Row and source of an ID, exact or in another spelling of the same name.

        Raises
        ------
        UnknownSourceError
            There is none.
        """
        spellings = ((_NAMED, source_id), (_KEYED, source_key(source_id)))
        if "\0" in source_id:  # is no part of a name, and PostgreSQL refuses it
            raise UnknownSourceError(source_id)
        with self._engine.connect() as connection:
            for query, name in spellings:
                asked = {"number": number, "name": name}
                row = connection.execute(query, asked).first()
                if row is not None:
                    return row.row, _source(row)
        raise UnknownSourceError(source_id)

    def rows_of(self, number: int, source_ids: Sequence[str]) -> dict[str, int]:
        """Rows of IDs, as they are spelt; those that are not there are left out."""
        found: dict[str, int] = {}
        # NUL is no part of a name, and PostgreSQL refuses it.
        names = [name for name in source_ids if "\0" not in name]
        with Session(self._engine) as session:
            for start in range(0, len(names), _BLOCK):
                query = sa.select(SourceRow.source_id, SourceRow.row).where(
                    SourceRow.generation == number,
                    SourceRow.source_id.in_(names[start : start + _BLOCK]),
                )
                found |= dict(session.execute(query).all())
        return found

    def rows_named(self, number: int, source_ids: Sequence[str]) -> dict[str, int]:
        """Rows of IDs, exact or in another spelling; those not there are left out.

        As `row_of` understands each of them, but all at once.
        """
        found = self.rows_of(number, source_ids)
        keys = {
            name: source_key(name)
            for name in source_ids
            if name not in found and "\0" not in name
        }
        alike: dict[str, int] = {}
        wanted = list(dict.fromkeys(keys.values()))
        with Session(self._engine) as session:
            for start in range(0, len(wanted), _BLOCK):
                query = (
                    sa.select(SourceRow.source_key, sa.func.min(SourceRow.row))
                    .where(
                        SourceRow.generation == number,
                        SourceRow.source_key.in_(wanted[start : start + _BLOCK]),
                    )
                    .group_by(SourceRow.source_key)
                )
                alike |= dict(session.execute(query).all())
        return found | {n: alike[key] for n, key in keys.items() if key in alike}

    def sources_by_row(self, number: int, rows: Sequence[int]) -> list[Source]:
        """Sources of rows, in the order asked."""
        found: dict[int, Source] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(rows), _BLOCK):
                asked = {"number": number, "rows": rows[start : start + _BLOCK]}
                found |= {
                    row.row: _source(row) for row in connection.execute(_OF_ROWS, asked)
                }
        return [found[row] for row in rows]

    def cutout_digests(self, number: int, rows: Sequence[int]) -> list[str]:
        """Digests of the cutouts of rows, as they were embedded; "" where unknown."""
        found: dict[int, str | None] = {}
        with Session(self._engine) as session:
            for start in range(0, len(rows), _BLOCK):
                query = sa.select(SourceRow.row, SourceRow.cutout_digest).where(
                    SourceRow.generation == number,
                    SourceRow.row.in_(rows[start : start + _BLOCK]),
                )
                found |= dict(session.execute(query).all())
        return [found[row] or "" for row in rows]

    def cone(
        self,
        number: int,
        ra: float,
        dec: float,
        radius_arcsec: float,
        *,
        limit: int,
        where: str | None = None,
    ) -> list[tuple[int, Source, float]]:
        """Row, source and separation in arcsec of those in a cone, nearest first."""
        region = Cone(ra, dec, radius_arcsec / 3600)
        chord_squared = region.chord_squared()
        query = (
            _sources(number)
            .add_columns(chord_squared)
            .where(region.condition())
            .order_by(chord_squared, SourceRow.row)
            .limit(limit)
        )
        if where is not None:
            query = query.where(parse_where(where, self.generation(number).columns))
        with self._engine.connect() as connection:
            return [
                (row.row, _source(row), separation_arcsec(row[-1]))
                for row in connection.execute(query)
            ]

    def select_rows(
        self,
        number: int,
        *,
        where: str | None = None,
        region: Region | None = None,
        positions: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int64]:
        """Rows, ascending, that pass a filter and lie in a region.

        Parameters
        ----------
        number
            Of the generation.
        where, region
            Both must hold; all rows when there is neither.
        positions
            Unit vectors of all rows, shape (N, 3), to test against a region whose
            cells alone do not tell; they are read from the table when None.

        Raises
        ------
        FilterError
            The filter cannot be understood.
        """
        conditions = [SourceRow.generation == number]
        if where is not None:
            conditions.append(parse_where(where, self.generation(number).columns))
        if region is not None:
            conditions.append(region.condition())
        rows = self._rows_where(*conditions)
        if region is None or region.exact_in_sql or not len(rows):
            return rows
        if positions is None:
            query = sa.select(SourceRow.x, SourceRow.y, SourceRow.z)
            query = query.where(*conditions).order_by(SourceRow.row)
            with self._engine.connect() as connection:
                some = np.array(connection.execute(query).all(), dtype=np.float64)
        else:
            some = positions[rows]
        return rows[region.contains(some)]

    def _rows_where(self, *conditions: sa.ColumnElement[bool]) -> NDArray[np.int64]:
        """Rows in order, as texts of many numbers: one by one they take far longer."""
        found = sa.select(SourceRow.row).where(*conditions).order_by(SourceRow.row)
        row = found.subquery().c.row
        query = sa.select(sa.func.aggregate_strings(sa.cast(row, sa.String), ","))
        with self._engine.connect() as connection:
            texts = connection.scalars(query.group_by(row // _ROWS_OF_A_TEXT)).all()
        parts = [np.fromstring(text, dtype=np.int64, sep=",") for text in texts]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def page(
        self,
        number: int,
        *,
        where: str | None = None,
        region: Region | None = None,
        sort: str | None = None,
        after: str | None = None,
        limit: int,
    ) -> tuple[list[Source], str | None]:
        """Some sources and the token of the next page; see `twinjet.index.paging`.

        Raises
        ------
        InvalidQueryError, FilterError
            The filter, the column to sort by or the token is not understood.
        """
        columns = self.generation(number).columns
        query = _sources(number)
        if where is not None:
            query = query.where(parse_where(where, columns))
        with self._engine.connect() as connection:
            rows, token = page_of(
                connection,
                query,
                columns,
                region=region,
                sort=sort,
                after=after,
                limit=limit,
            )
            return [_source(row) for row in rows], token

    def containing(self, number: int, text: str, limit: int) -> list[Source]:
        """Sources whose name contains a text, in any spelling, shortest first."""
        key = source_key(text)
        if not key or "\0" in key:
            return []
        query = (
            _sources(number)
            .where(SourceRow.source_key.contains(key, autoescape=True))
            .order_by(sa.func.length(SourceRow.source_key), SourceRow.source_id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [_source(row) for row in connection.execute(query)]

    def count(self, number: int) -> int:
        """How many sources a generation has."""
        with Session(self._engine) as session:
            return session.scalar(_count(number)) or 0

    def _published(self, number: int | None = None) -> list[_Published]:
        """Of each generation, when it was the last time and what it lacked."""
        rows = PublicationRow
        query = sa.select(
            rows.generation, sa.func.max(rows.published_at), sa.func.max(rows.forced)
        ).group_by(rows.generation)
        if number is not None:
            query = query.where(rows.generation == number)
        with self._engine.connect() as connection, self._readable():
            return [_Published(*row) for row in connection.execute(query)]

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What was written as a moment or as JSON can be read as one.

        Raises
        ------
        DatabaseDamagedError
            It cannot.
        """
        try:
            yield
        except (ValueError, TypeError) as exc:
            place = str(self._engine.url.database)
            raise DatabaseDamagedError(place, f"a value cannot be read: {exc}") from exc


def _last_published() -> sa.Select[int]:
    """Number of the generation that was published last, of those that are there."""
    return (
        sa.select(PublicationRow.generation)
        .join(GenerationRow, GenerationRow.number == PublicationRow.generation)
        .where(GenerationRow.state == READY)
        .order_by(PublicationRow.id.desc())
        .limit(1)
    )


def _publication(number: int, forced: str | None = None) -> PublicationRow:
    return PublicationRow(
        generation=number, published_at=datetime.now(UTC), forced=forced
    )


def _count(number: int) -> sa.Select[int]:
    query = sa.select(sa.func.count()).select_from(SourceRow)
    return query.where(SourceRow.generation == number)


def _sources(number: int | sa.BindParameter[int]) -> sa.Select[Any]:
    """What `_source` needs; objects of all columns took twice as long."""
    return sa.select(
        SourceRow.row,
        SourceRow.source_id,
        SourceRow.ra,
        SourceRow.dec,
        SourceRow.survey,
        SourceRow.cutout,
        SourceRow.columns,
    ).where(SourceRow.generation == number)


def _first_called(column: InstrumentedAttribute[str]) -> sa.Select[Any]:
    """The first row in which a column is ``name``, of the generation ``number``."""
    query = _sources(sa.bindparam("number")).where(column == sa.bindparam("name"))
    return query.order_by(SourceRow.row).limit(1)


# What every search asks, made once: making it took as long as asking it.
_NAMED, _KEYED = map(_first_called, (SourceRow.source_id, SourceRow.source_key))
_OF_ROWS = _sources(sa.bindparam("number")).where(
    SourceRow.row.in_(sa.bindparam("rows", expanding=True))
)


def _source(row: sa.Row[Any]) -> Source:
    return Source(
        source_id=row.source_id,
        ra=row.ra,
        dec=row.dec,
        survey=row.survey,
        cutout=row.cutout,
        columns=row.columns,
    )


def _generation(row: GenerationRow, published: _Published | None) -> Generation:
    return Generation(
        number=row.number,
        state=row.state,
        encoder_id=row.encoder_id,
        catalogue_name=row.catalogue_name,
        catalogue_digest=row.catalogue_digest,
        source_count=row.source_count,
        folder=row.folder,
        columns=tuple(Column(**column) for column in row.columns),
        created_at=_in_utc(row.created_at),
        published_at=None if published is None else _in_utc(published.at),
        report=row.report,
        job_id=row.job_id,
        forced=None if published is None else published.forced,
        manifest_sha256=row.manifest_sha256,
        rows_sha256=row.rows_sha256,
    )


def _in_utc(moment: datetime) -> datetime:
    """With its time zone, which SQLite does not keep."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
