"""Stand-ins of the vendor's operator and of its nodes, for the engine `singlestore`."""
