"""Bills from what cells have metered."""
