//! The switch with real ports, programs and packets, over a hand-made image.

mod bed;
mod denied;
mod full;
mod ports;
mod restart;
mod rules;
mod site;
mod sweep;
mod told;
mod validate;
mod versions;
