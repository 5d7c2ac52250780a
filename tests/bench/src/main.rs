//! Speed, side by side with its peers in one run.

fn main() {}
