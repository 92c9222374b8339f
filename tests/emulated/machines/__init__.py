"""The machines of a Kubernetes cluster, and the cloud they are rented from, as processes of this machine.

The control plane beside them is real. A pod's containers are real processes with a root folder, mounts, user
and address of their own; volumes are folders that are attached to one machine at a time. ``world.World`` is
what tests use.
"""
