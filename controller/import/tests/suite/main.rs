//! Imports as their users see them: examples, random lists, refusals, broken files.

mod common;
mod examples;
mod property;
mod random;
mod refusals;
mod robust;
