"""Since when the copies of a cell's ledger are late.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was there before says nothing of copies."""
    op.add_column("cells", sa.Column("copies_late_since", sa.BigInteger(), nullable=True))
