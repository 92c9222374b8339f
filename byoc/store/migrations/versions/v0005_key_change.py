"""Keys of cells that are being replaced.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give cells a place for the keys beside those in use."""
    op.add_column("cells", sa.Column("key_change", sa.Text()))
