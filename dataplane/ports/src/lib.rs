//! Network devices of the switch: taps, veth pairs, namespaces, offloads.
