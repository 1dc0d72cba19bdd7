//! One system partition for either firmware, as Windows To Go has it.

use super::copy::copy_directory;
use super::{Installed, UefiOptions, install_bios_to, install_uefi};
use crate::error::Result;
use crate::tree::Tree;
use crate::windows::Windows;

/// Makes the files of a system partition from which both a BIOS and UEFI firmware boot the image, each with a store of its own. The loader that
/// is told of is that of UEFI.
pub fn install_both(windows: &mut Windows, options: &UefiOptions) -> Result<(Tree, Installed)> {
    let (bios, of_bios) = install_bios_to(windows, &options.chain)?;
    let (mut made, mut installed) = install_uefi(windows, options)?;
    let root = made.root();
    copy_directory(&bios, bios.root(), &mut made, root, &[])?;
    installed.files += of_bios.files;
    for warning in of_bios.warnings {
        if !installed.warnings.contains(&warning) {
            installed.warnings.push(warning);
        }
    }
    Ok((made, installed))
}
