"""byoc: managed database workspaces in the customer's own account."""

from importlib.metadata import version

__version__ = version("nimbus-byoc")
