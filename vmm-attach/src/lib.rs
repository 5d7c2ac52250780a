//! Hands the ports of the switch to virtual machine monitors.
