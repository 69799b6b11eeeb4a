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


class InstallationRow(Base):
    """The home that the database belongs to, in one row."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    home_id: Mapped[str] = mapped_column(String(32))
