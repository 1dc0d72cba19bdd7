//! `nanovhd demo`.

use std::path::Path;
use std::sync::Arc;

use super::args::Demo;
use super::{Env, build, output};
use crate::base::{Disk, ReadAt};
use crate::error::{Error, Result};
use crate::format::wim::Wim;
use crate::image::host::{self, OutputFile};
use crate::image::{Firmware, Source, demo};

/// What the demo makes when nobody says otherwise.
const DEFAULT_OUTPUT: &str = "nanovhd-demo.vhd";
/// The same where targets name the containers.
const DEFAULT_STEM: &str = "nanovhd-demo";

pub(super) fn run(command: &Demo, json: bool, env: &mut Env<'_>) -> Result<()> {
    let default = if command.disk.target.is_empty() { DEFAULT_OUTPUT } else { DEFAULT_STEM };
    let path = command.output.as_deref().unwrap_or(Path::new(default));
    let earlier_demo = command.output.is_none(); // is what a file of the default name is
    let recipes = build::recipes(path, &command.disk, earlier_demo, env)?;
    if let Some(keep) = &command.keep_wim {
        host::check_target(keep, command.disk.force)?;
        if keep == path {
            return Err(Error::invalid("the WIM and the disk cannot be one file").found(keep.display()));
        }
    }
    let bytes = Arc::new(demo::wim(env.threads)?);
    let wim = Wim::open(vec![Arc::clone(&bytes) as Arc<dyn ReadAt>])?;
    let source = Source::of_wim(&wim, "the demo's WIM", demo::IMAGE)?;
    let built = build::make(source, &recipes, &command.disk, json, env)?;
    if let Some(keep) = command.keep_wim.as_deref().filter(|_| built) {
        let file = OutputFile::create(keep, ReadAt::len(&*bytes), command.disk.force, &env.control)?;
        file.write_at(0, &bytes)?;
        file.keep()?;
    }
    if built && !json && recipes.iter().any(|recipe| recipe.package.is_none()) {
        output::line(
            env.stdout,
            format_args!("\nBoot it (the stand-in boot manager reports on screen and serial port, then halts):"),
        )?;
        for recipe in recipes.iter().filter(|recipe| recipe.package.is_none()) {
            let (path, format) = (recipe.output.display(), recipe.format.qemu_driver());
            let firmware = match recipe.layout.firmware {
                Firmware::Uefi => " -bios /usr/share/ovmf/OVMF.fd",
                Firmware::Bios | Firmware::Both | Firmware::None => "",
            };
            output::line(
                env.stdout,
                format_args!("  qemu-system-x86_64{firmware} -drive \"file={path},format={format}\" -serial stdio"),
            )?;
        }
        output::line(env.stdout, format_args!("  or attach it to a machine of your hypervisor"))?;
    }
    Ok(())
}
