//! Registry hives ("regf" files), read, edited and written.
//!
//! A hive is a base block (4096 bytes: version, sequence numbers, checksum, where the root key is) and bins of cells. A key
//! is a cell that points to its parent, a list of subkeys sorted by upper-cased name, a list of values, a shared security
//! descriptor and a class; a value points to its data.
//!
//! | | read | written |
//! |---|---|---|
//! | version | 1.3 to 1.6 | as read; a new hive 1.5, or as set |
//! | lists of subkeys | li, lf, lh, ri | lf before 1.5, lh from 1.5 on; ri over leaves of 507 |
//! | names | one or two bytes for each code unit | one where every unit fits |
//! | data | in the value, in one cell, in segments ("db") | the same; segments from 1.4 on |
//! | value types | any `u32` | any `u32` |
//! | security cells | shared | shared, counted, in a ring |
//! | volatile keys | there are none in a file; stale counts are ignored | none |
//! | logs | old (`DIRT`) and new (`HvLE`), replayed in memory | none: a written hive is clean |
//!
//! [`Hive::read`] checks everything, so that all questions after it can be answered without errors. A hive whose bins, cells
//! or references contradict themselves is refused, not repaired; two things are healed silently, because Windows does so too:
//! subkeys out of order are sorted, and cells that nothing points to are dropped.
//!
//! # What is kept
//! Everything about a key or value that is not edited: names with their case, classes, times, flags, access bits,
//! virtualisation and user flags, type numbers, data, descriptors, the order of values. Of the base block, the file name and
//! the transaction manager's identifiers. The maxima that a key notes about its parts are counted anew.
//!
//! # Memory and limits
//! An opened hive takes its file's size, 32 bytes for each key, and what was edited; writing takes the new file's size more.
//! The reader never needs more than a small multiple of what it is given, whatever that says. Keys lie at most 512 levels
//! deep; names of keys have up to 256 code units, names of values up to 16383; a hive has up to 2 GiB.
//!
//! # Boot programs
//! bootmgr and winload take any hive that this module writes: they want the checksum right and both sequence numbers the same
//! (a dirty hive without logs is refused as 0xC000014C).
//!
//! # Sources
//! M. Suhanov, "Windows registry file format specification"; the libregf format documentation; "seen" refers to hives of
//! Windows 10. Windows puts the hash leaf (lh) into hives from 1.5 on, the fast leaf (lf) into older ones; BCD stores and
//! UsrClass.dat are 1.3 to this day.

mod edit;
mod log;
mod ondisk;
mod read;
mod store;
mod text;
mod value;
pub mod words;
mod write;

#[cfg(test)]
mod tests;

pub use edit::{ADMIN_DESCRIPTOR, MAX_DATA, MAX_VALUE_NAME};
pub use log::Recovery;
pub use read::{MAX_DEPTH, MAX_KEY_NAME, ReadOptions};
pub use store::{Hive, KeyId};
pub use text::Text;
pub use value::{Value, ValueRef, kind};
