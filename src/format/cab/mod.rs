//! Cabinets (`.cab`): what Windows' packages and many drivers come in.
//!
//! | | read | written |
//! |---|---|---|
//! | stored, MSZIP, LZX with windows of 32 KiB to 2 MiB | yes | no |
//! | Quantum | refused by name: nobody has made any since 1997 | no |
//! | a set of several cabinets | refused by name | no |
//! | reserved areas, data behind the cabinet (signatures) | passed over | no |
//! | checksums of blocks | checked where there are any | no |
//! | names | UTF-8 where they are said to be or are, else Windows-1252 | no |
//!
//! A cabinet has *folders*, which are streams of up to 65535 blocks of 32 KiB, and *files*, which are ranges of them; the folders that
//! a user sees are in the names of files. A [`Cabinet`] reads the directory at once and the data when it is [unpacked](Cabinet::unpack),
//! each folder once from its start to its end, so that memory does not depend on how much there is.
//!
//! # Limits
//! 2 GiB for a cabinet and for a folder, as in Windows. Memory: the directory (up to 65535 files with 255 bytes of name), a window of
//! LZX twice, and 128 KiB. Files of one folder that overlap are refused: no cabinet of 2 GiB gives more than its folders hold. Folders can
//! be made to share their data, so that whoever keeps what comes out asks for [`Cabinet::unpacked_len`] first.
//!
//! [`Cabinet::into_tree`] has the files as a [`Tree`](crate::tree::Tree), to be unpacked when they are wanted.
//!
//! # Sources
//! \[MS-CAB\]; Microsoft's "Cabinet file format" of the Cabinet SDK; \[MS-MCI\] for MSZIP; cabinets by Windows, makecab and gcab. The decoders are our
//! own: crate `cab`, with which the tests compare, unpacks a folder anew for each of its files.

mod ondisk;
mod read;
mod tree;
mod unpack;

#[cfg(test)]
mod tests;

pub use read::{Cabinet, Compression, File, is_cabinet};
