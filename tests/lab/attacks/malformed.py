"""Frames that no honest guest sends, by scapy: malformed headers, tags, fragments, extension
headers. Arguments: the attacker's MAC, a neighbour's, another one's, and a file that is told how
many frames are to be dropped for which reason. r1 may talk to port 80 of its neighbour, so what is
stopped here is stopped for the reason that is named and not for want of a rule.
"""

import sys
from collections import Counter

from scapy.all import (
    ARP, BOOTP, DHCP, Dot1AD, Dot1Q, Ether, GRE, ICMP, ICMPv6DestUnreach, ICMPv6EchoRequest,
    ICMPv6ND_RA, ICMPv6ND_Redirect, IP, IPerror, IPOption, IPv6, IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, TCP, UDP, UDPerror, conf,
    fragment,
)

OWN, NEIGHBOUR, THIRD, SAID = sys.argv[1:5]
FOUR, SIX = ("10.1.0.11", "10.1.0.12"), ("fd01::11", "fd01::12")

ether = Ether(src=OWN, dst=NEIGHBOUR)
four = ether / IP(src=FOUR[0], dst=FOUR[1])
six = ether / IPv6(src=SIX[0], dst=SIX[1])
web = TCP(sport=40000, dport=80, flags="S", seq=1)

frames = []


def drop(reason, *some):
    """Frames that have to be dropped for this reason."""
    frames.extend((reason, frame) for frame in some)


def raw4(**fields):
    """An IPv4 header with these fields, in front of the start of an allowed connection."""
    return ether / IP(src=FOUR[0], dst=FOUR[1], **fields) / web


def truncated(frame, length):
    return Raw(bytes(frame)[:length])


# Ethernet and tags.
drop("spoofed-mac", Ether(src=THIRD, dst=NEIGHBOUR) / four.payload / web)
drop("spoofed-mac", Ether(src="ff:ff:ff:ff:ff:ff", dst=NEIGHBOUR) / four.payload / web)
drop("wrong-mac", Ether(src=OWN, dst=THIRD) / four.payload / web)
drop("tagged-frame", ether / Dot1Q(vlan=10) / four.payload / web)
drop("tagged-frame", ether / Dot1Q(vlan=0) / four.payload / web)
drop("double-tag", ether / Dot1Q(vlan=10) / Dot1Q(vlan=20) / four.payload / web)
drop("double-tag", ether / Dot1AD(vlan=10) / Dot1Q(vlan=20) / four.payload / web)
drop("ether-type", *(Ether(src=OWN, dst=NEIGHBOUR, type=t) / Raw(b"x" * 50)
                     for t in (0x88cc, 0x8863, 0x8847, 0x88e5, 0x9000, 0x22f0)))

# IPv4 headers.
drop("bad-ip", raw4(version=5), raw4(ihl=4), raw4(len=8), raw4(len=4000))
drop("truncated", raw4(ihl=15), truncated(raw4(), 14 + 12), truncated(raw4(), 14 + 20 + 4))
drop("ip-option", *(raw4(options=[option]) for option in (
    IPOption(b"\x83\x07\x04\x0a\x01\x00\x0d"), IPOption(b"\x89\x07\x04\x0a\x01\x00\x0d"))))
drop("spoofed-address", *(ether / IP(src=source, dst=FOUR[1]) / web for source in (
    "10.1.0.13", "10.1.0.1", "8.8.8.8", "10.2.0.11")))
drop("bad-transport", *(four / TCP(dport=80, flags=flags) for flags in (
    "", "SF", "SR", "FPU", "SAFRPU")))
drop("no-connection", *(four / TCP(dport=80, flags=flags) for flags in ("A", "SA", "FA", "R", "PA")))

# Fragments: tiny first ones, overlapping, without a first, beyond the end.
pieces = fragment(four / TCP(dport=80, flags="S") / Raw(b"y" * 64), fragsize=8)
drop("fragment-tiny", *pieces[:-1])
drop("fragment-orphan", pieces[-1])
for name, places in (("fragment-overlap", (1, 2)), ("fragment-orphan", (100, 8000))):
    drop(name, *(ether / IP(src=FOUR[0], dst=FOUR[1], id=9, frag=at, proto=6) / Raw(b"z" * 16)
                 for at in places))

# IPv6: chains that are too long, out of order, forbidden; fragments.
drop("extension-header", six / IPv6ExtHdrRouting(type=0, addresses=["fd01::13"]) / web)
drop("extension-header", six / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"a")])
     / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"a")]) / web)
chain = six
for _ in range(20):
    chain = chain / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"a")])
drop("extension-header", chain / web)
drop("fragment-tiny", six / IPv6ExtHdrFragment(offset=0, m=1, id=7) / Raw(bytes(web)[:8]))
for name, places in (("fragment-overlap", (1, 2)), ("fragment-orphan", (100, 8000))):
    drop(name, *(six / IPv6ExtHdrFragment(offset=at, m=0, id=8, nh=6) / Raw(b"z" * 16)
                 for at in places))
drop("spoofed-address", *(ether / IPv6(src=source, dst=SIX[1]) / web for source in (
    "fd01::13", "2001:db8::1", "fe80::1")))

# Who claims to be a router, a server, a neighbour.
everyone = Ether(src=OWN, dst="33:33:00:00:00:01")
local = "fe80::" + ":".join((
    f"{int(OWN[:2], 16) ^ 2:02x}{OWN[3:5]}", f"{OWN[6:8]}ff", f"fe{OWN[9:11]}", OWN[12:14] + OWN[15:17]))
drop("not-for-guests", everyone / IPv6(src=local, dst="ff02::1", hlim=255) / ICMPv6ND_RA())
drop("not-for-guests", ether / IPv6(src=SIX[0], dst=SIX[1], hlim=255)
     / ICMPv6ND_Redirect(tgt=SIX[0], dst="fd02::11"))
drop("not-for-guests", four / UDP(sport=67, dport=68) / BOOTP(op=2)
     / DHCP(options=[("message-type", "offer"), "end"]))
drop("spoofed-neighbour", Ether(src=OWN, dst="ff:ff:ff:ff:ff:ff")
     / ARP(op=2, hwsrc=OWN, psrc="10.1.0.13", hwdst="ff:ff:ff:ff:ff:ff", pdst="10.1.0.13"))
drop("spoofed-neighbour", ether / ARP(op=2, hwsrc=THIRD, psrc=FOUR[0], hwdst=NEIGHBOUR, pdst=FOUR[1]))
drop("bad-arp", ether / ARP(hwlen=7, op=1, hwsrc=OWN, psrc=FOUR[0], pdst=FOUR[1]))

# Errors about nothing, and what no rule is about.
drop("unrelated-error", four / ICMP(type=3, code=3) / IPerror(src=FOUR[1], dst=FOUR[0])
     / UDPerror(sport=53, dport=4000))
drop("unrelated-error", six / ICMPv6DestUnreach() / IPv6(src=SIX[1], dst=SIX[0]) / UDP(sport=53))
drop("no-rule", four / ICMP(), six / ICMPv6EchoRequest(), four / UDP(dport=53), four / GRE() / four.payload)

socket = conf.L2socket(iface="eth0")
for _, frame in frames:
    socket.send(frame)
with open(SAID, "w") as said:
    for reason, count in sorted(Counter(reason for reason, _ in frames).items()):
        said.write(f"{reason} {count}\n")
