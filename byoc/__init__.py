"""byoc: managed database workspaces in the customer's own account."""

__version__ = "0.1.0"
