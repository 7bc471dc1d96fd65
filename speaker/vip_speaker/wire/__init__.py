"""Frames to values and back: VRRP advertisements, gratuitous ARP and unsolicited neighbour advertisements.

scapy builds and takes apart every frame; nothing here opens a socket or knows a clock.
"""

from vip_speaker.wire.admission import Expectation, Remark, admit, remarks
from vip_speaker.wire.advertisement import Content, encode_frame, encode_message, encode_packet
from vip_speaker.wire.decoder import Decoder
from vip_speaker.wire.discard import Discard, DiscardReason
from vip_speaker.wire.neighbour import (
    Announced,
    decode_announcement,
    gratuitous_arp,
    unsolicited_advertisement,
)
from vip_speaker.wire.received import PacketType, Received

__all__ = [
    "Announced",
    "Content",
    "Decoder",
    "Discard",
    "DiscardReason",
    "Expectation",
    "PacketType",
    "Received",
    "Remark",
    "admit",
    "decode_announcement",
    "encode_frame",
    "encode_message",
    "encode_packet",
    "gratuitous_arp",
    "remarks",
    "unsolicited_advertisement",
]
