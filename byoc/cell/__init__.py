"""The AWS cell as Pulumi components: typed arguments in, resources of the customer's account out.

``args``, ``naming``, ``subnets``, ``protection``, ``permissions`` and ``manifests`` are pure and load
nothing slow; the components load Pulumi, and only the program and the plan load the components.
"""
