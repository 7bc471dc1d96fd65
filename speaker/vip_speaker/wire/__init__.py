"""Frames to values and back: VRRP advertisements, gratuitous ARP and unsolicited neighbour advertisements.

scapy builds and takes apart every frame; nothing here opens a socket or knows a clock.
"""
