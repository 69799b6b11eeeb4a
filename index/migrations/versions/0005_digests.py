"""What a generation's manifest and rows were when they were written."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("generation", sa.Column("manifest_sha256", sa.String(64)))
    op.add_column("generation", sa.Column("rows_sha256", sa.String(64)))


def downgrade() -> None:
    op.drop_column("generation", "rows_sha256")
    op.drop_column("generation", "manifest_sha256")
