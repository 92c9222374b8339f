"""The provider's side: Management API, fleet, billing; keeps intent and metadata, never customer data."""
