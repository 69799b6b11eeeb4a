"""Tables of the metadata store.

Sources belong to a generation and are never changed: an answer that names a
generation finds the very rows that it was built from.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# JSON that PostgreSQL can look into.
_Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    """Of all tables."""


class GenerationRow(Base):
    """One build of the index."""

    __tablename__ = "generation"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16))
    encoder_id: Mapped[str] = mapped_column(String(64))
    catalogue_name: Mapped[str] = mapped_column(Text)
    catalogue_digest: Mapped[str] = mapped_column(String(64))
    source_count: Mapped[int] = mapped_column(BigInteger, default=0)
    folder: Mapped[str] = mapped_column(String(64), default="")
    columns: Mapped[list[dict[str, Any]]] = mapped_column(_Json)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    job_id: Mapped[str | None] = mapped_column(String(100))
    report: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    rows_sha256: Mapped[str | None] = mapped_column(String(64))


class PublicationRow(Base):
    """A moment at which a generation became the current one; the last counts."""

    __tablename__ = "publication"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    generation: Mapped[int] = mapped_column(
        ForeignKey("generation.number", ondelete="CASCADE")
    )
    published_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    forced: Mapped[str | None] = mapped_column(Text)


class SourceRow(Base):
    """A source of one generation; `row` is its place among the vectors."""

    __tablename__ = "source"
    __table_args__ = (
        Index("source_by_id", "generation", "source_id", unique=True),
        Index("source_by_key", "generation", "source_key"),
        Index("source_by_cell", "generation", "healpix"),
    )

    generation: Mapped[int] = mapped_column(
        ForeignKey("generation.number", ondelete="CASCADE"), primary_key=True
    )
    row: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    source_id: Mapped[str] = mapped_column(Text)
    source_key: Mapped[str] = mapped_column(Text)
    ra: Mapped[float] = mapped_column(Float(53))
    dec: Mapped[float] = mapped_column(Float(53))
    x: Mapped[float] = mapped_column(Float(53))
    y: Mapped[float] = mapped_column(Float(53))
    z: Mapped[float] = mapped_column(Float(53))
    healpix: Mapped[int] = mapped_column(BigInteger)
    survey: Mapped[str | None] = mapped_column(Text)
    cutout: Mapped[str | None] = mapped_column(Text)
    cutout_digest: Mapped[str | None] = mapped_column(String(64))
    columns: Mapped[dict[str, Any]] = mapped_column(_Json)


class EmbeddingRow(Base):
    """Where the embedding of a cutout is, or why there is none; kept for ever."""

    __tablename__ = "embedding"
    __table_args__ = (Index("embedding_by_shard", "encoder_id", "shard"),)

    encoder_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    shard: Mapped[str] = mapped_column(String(100))
    row: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str | None] = mapped_column(Text)


class ProgressRow(Base):
    """How far a part of a job is; part -1 is the job itself, others its shards."""

    __tablename__ = "progress"

    job_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    stage: Mapped[str] = mapped_column(String(32))
    done: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(BigInteger)
    began_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class DiscoverySessionRow(Base):
    """A search for more of a kind; `version` counts what changed in it."""

    __tablename__ = "discovery_session"

    session_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    notes: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class DiscoveryMarkRow(Base):
    """What a session knows of a source: its label, and when it was proposed.

    Sources are known by their IDs, which outlast generations; the position is that
    of the day, for a source that is no longer there.
    """

    __tablename__ = "discovery_mark"

    session_id: Mapped[str] = mapped_column(
        ForeignKey("discovery_session.session_id", ondelete="CASCADE"),
        primary_key=True,
    )
    source_id: Mapped[str] = mapped_column(Text, primary_key=True)
    ra: Mapped[float] = mapped_column(Float(53))
    dec: Mapped[float] = mapped_column(Float(53))
    label: Mapped[str | None] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    round: Mapped[int | None] = mapped_column(Integer)
    place: Mapped[int | None] = mapped_column(Integer)
    strategy: Mapped[str | None] = mapped_column(String(16))
    score: Mapped[float | None] = mapped_column(Float(53))
    similarity: Mapped[float | None] = mapped_column(Float(53))


class DiscoveryRoundRow(Base):
    """Candidates that were proposed together, and what they came from."""

    __tablename__ = "discovery_round"

    session_id: Mapped[str] = mapped_column(
        ForeignKey("discovery_session.session_id", ondelete="CASCADE"),
        primary_key=True,
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)
    explore: Mapped[float] = mapped_column(Float(53))
    where: Mapped[str | None] = mapped_column(Text)
    generation: Mapped[int] = mapped_column(Integer)
    encoder_id: Mapped[str] = mapped_column(String(64))
    catalogue_name: Mapped[str] = mapped_column(Text)
    catalogue_digest: Mapped[str] = mapped_column(String(64))
    likes: Mapped[int] = mapped_column(Integer)
    dislikes: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SourceListRow(Base):
    """A named list of sources that are known already."""

    __tablename__ = "source_list"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    radius_arcsec: Mapped[float] = mapped_column(Float(53))
    entries: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SourceListEntryRow(Base):
    """A source of a list: an ID, a position, or both."""

    __tablename__ = "source_list_entry"
    __table_args__ = (Index("source_list_by_key", "source_key"),)

    list_name: Mapped[str] = mapped_column(
        ForeignKey("source_list.name", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    source_id: Mapped[str | None] = mapped_column(Text)
    source_key: Mapped[str | None] = mapped_column(Text)
    ra: Mapped[float | None] = mapped_column(Float(53))
    dec: Mapped[float | None] = mapped_column(Float(53))


class DiscoveryExclusionRow(Base):
    """A list whose sources a session leaves out."""

    __tablename__ = "discovery_exclusion"

    session_id: Mapped[str] = mapped_column(
        ForeignKey("discovery_session.session_id", ondelete="CASCADE"),
        primary_key=True,
    )
    list_name: Mapped[str] = mapped_column(
        ForeignKey("source_list.name"), primary_key=True
    )


class InstallationRow(Base):
    """The home that the database belongs to, in one row."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    home_id: Mapped[str] = mapped_column(String(32))


class ApiKeyRow(Base):
    """A key of somebody who may use the service; of its secret only the SHA-256."""

    __tablename__ = "api_key"

    prefix: Mapped[str] = mapped_column(String(12), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(String(16))
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    uploads_per_minute: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
