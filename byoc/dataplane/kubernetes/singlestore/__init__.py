"""The engine `singlestore`: a cluster of nodes that the vendor's operator makes from a MemsqlCluster."""
