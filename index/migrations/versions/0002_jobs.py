"""Embeddings by cutout, reports of verification, progress of jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.add_column("generation", sa.Column("job_id", sa.String(100)))
    op.add_column("generation", sa.Column("report", json))
    op.add_column("publication", sa.Column("forced", sa.Text()))
    op.add_column("source", sa.Column("cutout_digest", sa.String(64)))
    op.create_table(
        "embedding",
        sa.Column("encoder_id", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("shard", sa.String(100), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
    )
    op.create_index("embedding_by_shard", "embedding", ["encoder_id", "shard"])
    op.create_table(
        "progress",
        sa.Column("job_id", sa.String(100), primary_key=True),
        sa.Column("part", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger()),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("progress")
    op.drop_table("embedding")
    for table, column in (
        ("source", "cutout_digest"),
        ("publication", "forced"),
        ("generation", "report"),
        ("generation", "job_id"),
    ):
        op.drop_column(table, column)
