"""The VRRP daemon: manifests in, elections run, addresses held, state out. Reaches no API and opens no TCP port."""
