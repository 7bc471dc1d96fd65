"""The keepalived walk-through on two hosts, told as it happens: `python -m tests.lab`."""
