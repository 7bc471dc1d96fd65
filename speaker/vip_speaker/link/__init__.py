"""Sockets of one link: packet sockets with a kernel filter, group membership, raw IP for unicast peers.

They move bytes; what the bytes mean is `vip_speaker.wire`'s part. Every socket is non-blocking and every buffer
bounded.
"""

from vip_speaker.link.announcement import AnnouncementSocket
from vip_speaker.link.packet import LinkError, LinkSocket
from vip_speaker.link.unicast import UnicastSocket

__all__ = ["AnnouncementSocket", "LinkError", "LinkSocket", "UnicastSocket"]
