"""The tables, for queries. The schema itself is made by the migrations alone; a test compares the two.

Moments are whole microseconds since 1970 in UTC: exact, and they compare as numbers. Specs,
reports and keys are JSON text, so that a new field of a spec needs no migration.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, text

METADATA: Final = MetaData()

# Most rows are neither: these indexes stay small however many there are.
_DUE: Final = text("generation > acknowledged_generation AND terminated_at IS NULL")
_UNTOLD: Final = text(
    "generation > acknowledged_generation AND terminated_at IS NULL AND told_generation < generation"
)

organizations: Final = Table(
    "organizations",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

projects: Final = Table(
    "projects",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("edition", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

users: Final = Table(
    "users",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("email", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys: Final = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

cells: Final = Table(
    "cells",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("region_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("signing_key", Text),
    Column("sealing_key", Text),
    Column("last_seen_at", BigInteger),
    Column("facts", Text),
    Column("copies_late_since", BigInteger),
    # The newest enrolment token: its id and the key it is bound to, never the token.
    Column("enrolment_jti", Text),
    Column("enrolment_thumbprint", Text),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("incarnation", Text),
    Column("full_wanted", Boolean, nullable=False, server_default="0"),
    Column("resync_wanted", Boolean, nullable=False, server_default="0"),
    # Who delivers to this cell now; `fence` rises with every taking.
    Column("claim_owner", Text),
    Column("claim_until", BigInteger),
    Column("fence", Integer, nullable=False, server_default="0"),
    # Public keys beside those in use, while they are being replaced.
    Column("key_change", Text),
)

incarnations: Final = Table(
    "incarnations",
    METADATA,
    Column("cell_id", Text, ForeignKey("cells.id"), primary_key=True),
    Column("incarnation", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

ledger_heads: Final = Table(
    "ledger_heads",
    METADATA,
    Column("cell_id", Text, ForeignKey("cells.id"), primary_key=True),
    Column("chain", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

cell_events: Final = Table(
    "cell_events",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("cell_id", Text, ForeignKey("cells.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    sqlite_autoincrement=True,
)

deeds: Final = Table(
    "deeds",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("by", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    sqlite_autoincrement=True,
)

sessions: Final = Table(
    "sessions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("cell_id", Text, ForeignKey("cells.id"), nullable=False, index=True),
    Column("gateway", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
)

groups: Final = Table(
    "workspace_groups",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("cell_id", Text, ForeignKey("cells.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("acknowledged_generation", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    # The spec of `acknowledged_generation`: what a refusal falls back to.
    Column("accepted", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("terminated_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("deployment_type", Text, nullable=False),
    Column("high_availability", Boolean, nullable=False),
    Column("opt_in_preview", Boolean, nullable=False),
    Column("condition", Text, nullable=False),
    Index("ix_workspace_groups_due", "cell_id", sqlite_where=_DUE),
)

workspaces: Final = Table(
    "workspaces",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("group_id", Text, ForeignKey("workspace_groups.id"), nullable=False, index=True),
    Column("cell_id", Text, ForeignKey("cells.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("acknowledged_generation", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    Column("accepted", Text),
    Column("report", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("deployment_type", Text, nullable=False),
    Column("terminated_at", BigInteger),
    Column("last_resumed_at", BigInteger),
    Column("auto_suspend_changed_at", BigInteger),
    Column("auto_scale_changed_at", BigInteger),
    # The generation whose wait has been told, so that it is told once.
    Column("told_generation", Integer, nullable=False, server_default="0"),
    Index("ix_workspaces_due", "cell_id", sqlite_where=_DUE),
    Index("ix_workspaces_untold", "cell_id", sqlite_where=_UNTOLD),
)

changes: Final = Table(
    "changes",
    METADATA,
    Column("object_id", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("verbs", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

events: Final = Table(
    "events",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Integer),
    Column("by", Text, nullable=False),
    # Names a transition of a cell, which may report it more than once.
    Column("origin", Text, unique=True),
    Index("ix_events_workspace", "workspace_id", "number"),
    sqlite_autoincrement=True,
)

intervals: Final = Table(
    "intervals",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False, index=True),
    Column("size", Text, nullable=False),
    Column("scale_factor", Integer, nullable=False),
    Column("cache_config", Integer, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("end", BigInteger),
)

stored: Final = Table(
    "stored",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False, index=True),
    Column("start", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("byte_seconds", BigInteger, nullable=False),
    Column("closed", Boolean, nullable=False),
)

sealed_passwords: Final = Table(
    "sealed_passwords",
    METADATA,
    Column("group_id", Text, ForeignKey("workspace_groups.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
