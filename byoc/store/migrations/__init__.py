"""Alembic migrations, packaged. Each is written once and never edited after a release."""
