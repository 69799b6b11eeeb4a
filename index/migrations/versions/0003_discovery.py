"""Sessions of discovery, and lists of known sources."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _session_id() -> sa.Column[Any]:
    of_session = sa.ForeignKey("discovery_session.session_id", ondelete="CASCADE")
    return sa.Column("session_id", sa.String(32), of_session, primary_key=True)


def _moment(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def upgrade() -> None:
    op.create_table(
        "discovery_session",
        sa.Column("session_id", sa.String(32), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
    )
    op.create_table(
        "discovery_mark",
        _session_id(),
        sa.Column("source_id", sa.Text(), primary_key=True),
        sa.Column("ra", sa.Float(53), nullable=False),
        sa.Column("dec", sa.Float(53), nullable=False),
        sa.Column("label", sa.String(16)),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _moment("updated_at"),
        sa.Column("round", sa.Integer()),
        sa.Column("place", sa.Integer()),
        sa.Column("strategy", sa.String(16)),
        sa.Column("score", sa.Float(53)),
        sa.Column("similarity", sa.Float(53)),
    )
    op.create_table(
        "discovery_round",
        _session_id(),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("explore", sa.Float(53), nullable=False),
        sa.Column("where", sa.Text()),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("encoder_id", sa.String(64), nullable=False),
        sa.Column("catalogue_name", sa.Text(), nullable=False),
        sa.Column("catalogue_digest", sa.String(64), nullable=False),
        sa.Column("likes", sa.Integer(), nullable=False),
        sa.Column("dislikes", sa.Integer(), nullable=False),
        _moment("created_at"),
    )
    op.create_table(
        "source_list",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("radius_arcsec", sa.Float(53), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        _moment("updated_at"),
    )
    op.create_table(
        "source_list_entry",
        sa.Column(
            "list_name",
            sa.String(100),
            sa.ForeignKey("source_list.name", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("source_id", sa.Text()),
        sa.Column("source_key", sa.Text()),
        sa.Column("ra", sa.Float(53)),
        sa.Column("dec", sa.Float(53)),
    )
    op.create_index("source_list_by_key", "source_list_entry", ["source_key"])
    op.create_table(
        "discovery_exclusion",
        _session_id(),
        sa.Column(
            "list_name",
            sa.String(100),
            sa.ForeignKey("source_list.name"),
            primary_key=True,
        ),
    )


def downgrade() -> None:
    for table in (
        *("discovery_exclusion", "source_list_entry", "source_list"),
        *("discovery_round", "discovery_mark", "discovery_session"),
    ):
        op.drop_table(table)
