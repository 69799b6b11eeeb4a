"""Generations, publications and sources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "generation",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("encoder_id", sa.String(64), nullable=False),
        sa.Column("catalogue_name", sa.Text(), nullable=False),
        sa.Column("catalogue_digest", sa.String(64), nullable=False),
        sa.Column("source_count", sa.BigInteger(), nullable=False),
        sa.Column("folder", sa.String(64), nullable=False),
        sa.Column("columns", json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "publication",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column(
            "generation",
            sa.Integer(),
            sa.ForeignKey("generation.number", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "source",
        sa.Column(
            "generation",
            sa.Integer(),
            sa.ForeignKey("generation.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("row", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Float(53), nullable=False)
            for name in ("ra", "dec", "x", "y", "z")
        ),
        sa.Column("healpix", sa.BigInteger(), nullable=False),
        sa.Column("survey", sa.Text()),
        sa.Column("cutout", sa.Text()),
        sa.Column("columns", json, nullable=False),
    )
    op.create_index("source_by_id", "source", ["generation", "source_id"], unique=True)
    op.create_index("source_by_key", "source", ["generation", "source_key"])
    op.create_index("source_by_cell", "source", ["generation", "healpix"])


def downgrade() -> None:
    for table in ("source", "publication", "generation"):
        op.drop_table(table)
