"""The agent: between the API server and the router's two directories, on one node, without any privilege.

It hands the router the documents that the operator assigned to this node (`desired/*.json`), reports what the
router says of them (`state/*.vip.json`) and serves metrics. Whatever happens to the API, what the router has
been given stays.
"""
