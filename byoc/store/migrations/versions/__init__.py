"""One module per version of the schema; their order is that of their numbers."""
