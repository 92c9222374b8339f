"""The HTTP face of the Control Plane: one file per resource; each parses, calls the fleet, shapes."""
