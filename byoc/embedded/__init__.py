"""`byoc up` and what belongs to it: one instance of everything on one machine.

It supervises the processes that production runs, with an embedded database and a local cell. Its face,
used by the command line:

- ``up.up(UpOptions, report) -> Running`` (``facts()``, ``wait()``)
- ``down.down(data, delete_data=…, environment=…) -> Stopped``
- ``status.status(data, environment=…) -> Status``
- ``doctor.doctor(data, environment=…, only=…) -> [Check]`` and ``bundle.bundle(file, data, checks)``
- ``registry.instances(environment) -> [Instance]`` and ``places.default_data(environment)``
"""
