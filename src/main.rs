//! The command `nanovhd`.

fn main() {}
