//! The portcullis command and its daemon.

fn main() {}
