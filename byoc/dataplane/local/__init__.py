"""Workspaces as processes of this machine: MariaDB, found or fetched, one per workspace."""
