"""`byoc up` and what belongs to it: one instance of everything on one machine.

It supervises the processes that production runs, with an embedded database and a local cell. The
command line calls :mod:`byoc.embedded.up`, ``down``, ``status``, ``doctor`` and ``registry``.
"""
