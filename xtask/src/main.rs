//! Tasks of the project that are not the program: `cargo xtask`.

fn main() {}
