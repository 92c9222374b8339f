"""What the Control Plane remembers: tables, migrations, and transactions over them.

The one home of SQLAlchemy and Alembic. Callers get a :class:`byoc.store.seam.Store` and see
values of ``byoc.model.records`` only. Never stored: a password, a key, a token, a row of a
customer's data; sealed passwords until the cell has them, and hashes.
"""
