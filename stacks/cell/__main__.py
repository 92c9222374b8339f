"""A cell under plain ``pulumi preview|up|destroy``; its settings are in ``Pulumi.yaml``."""

from byoc.cell.program import from_config

from_config()
