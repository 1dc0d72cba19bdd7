//! Tasks of the project that are not the program: `cargo xtask`.

mod boot;

fn main() -> nanovhd::error::Result<()> {
    boot::run(std::env::args().any(|argument| argument == "--check"))
}
