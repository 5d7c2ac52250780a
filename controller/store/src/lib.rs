//! What a host must remember over a reboot.
