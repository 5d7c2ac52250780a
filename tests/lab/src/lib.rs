//! Hosts, guests and worlds made of network namespaces, for tests and the demo.
