//! The boot configuration data (BCD) of the boot manager: a registry hive with objects, and elements of them.
//!
//! ```text
//! NewStoreRoot
//!   Description                      KeyName, System, TreatAsSystem
//!   Objects
//!     {9dea862c-...}                 the boot manager
//!       Description                  Type
//!       Elements
//!         12000004                   Element = "Windows Boot Manager"
//! ```
//!
//! A code has a class (1 of the library, 2 of the application, 3 of a device, 4 of templates), a format (1 device, 2 string,
//! 3 object, 4 objects, 5 integer, 6 boolean, 7 integers) and a number.
//!
//! | | read | written |
//! |---|---|---|
//! | stores and BCD-Templates | all objects and elements | hive 1.3, identifiers in lower case, integers of 8 bytes |
//! | devices | boot, locate by element, partition of MBR or GPT; others verbatim | the same |
//! | `Description` | all values, among them `GuidCache` | the same |
//! | anything else in the hive | ignored | not |
//!
//! [`new_store`] does what bcdboot does for a freshly installed Windows. Its list of objects is `templates/bcd.toml`, read off
//! stores that bcdboot made and that were never booted (BIOS) or of a real machine (UEFI). The image's
//! `\Windows\System32\config\BCD-Template` overrides that list: its OS loader and resume templates of the firmware become
//! objects with new identifiers, what is there to be inherited is copied. So EMS and debug settings that an image builder put
//! into the template arrive in the store.
//!
//! Sources: Microsoft's BCD WMI documentation (element types), bcdedit's own names, stores and templates of Windows 10, and
//! what Windows' boot programs were seen to accept.

mod device;
mod names;
mod new_store;
mod store;
pub mod text;

#[cfg(test)]
mod tests;

pub use device::Device;
pub use names::{choice_name, code, element_name, id_of_name, object_name, object_title};
pub use new_store::{NewStore, new_store};
pub use store::{Element, Object, Store, set_element};

/// What starts the boot manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// A PC BIOS: winload.exe.
    Bios,
    /// UEFI: winload.efi.
    Uefi,
}
