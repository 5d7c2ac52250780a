//! Oracle, native pipeline and loaded programs held together, packet by packet.
