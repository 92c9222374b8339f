"""The control function's own code: the customer's way to a cell's papers, past every control plane.

Run by Lambda in the cell's private subnets; standard library only.
"""
