"""The function that brings the Nimbus client's objects into a cluster whose API has no public address.

Runs in AWS Lambda inside the cell's private subnets, so it holds to the standard library. Its package
holds the one bundle that it can apply: who may call it cannot make it apply anything else.
"""
