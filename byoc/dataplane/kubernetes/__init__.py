"""Workspaces as objects of a Kubernetes cluster."""
