//! A build with fifty driver packages against the same without: what they cost.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::measure::on_top;
use super::output_folder;
use crate::shell::Result;

const PACKAGES: usize = 50;
/// What a driver of today weighs.
const DRIVER_LEN: usize = 200_000;
/// Seconds that they may take on top.
const BAR: f64 = 0.5;

/// What they cost on top of the demo's image.
pub(super) fn measure(ours: &Path, rounds: usize) -> Result<()> {
    let folder = output_folder()?;
    let drivers = folder.path().join("drivers");
    for number in 0..PACKAGES {
        package(&drivers, number)?;
    }
    let what = format!("{PACKAGES} driver packages of {DRIVER_LEN} bytes");
    on_top(ours, folder.path(), rounds, &what, BAR, |build| {
        build.arg("--driver").arg(&drivers).args(["--allow-unsigned", "--test-signing"]);
    })
}

/// A package of an INF file and a program; every third is for storage, whose records go into SYSTEM.
fn package(drivers: &Path, number: usize) -> Result<()> {
    let folder = drivers.join(format!("bench{number}"));
    fs::create_dir_all(&folder)?;
    let (class, guid) = match number % 3 {
        0 => ("SCSIAdapter", "{4d36e97b-e325-11ce-bfc1-08002be10318}"),
        _ => ("Net", "{4d36e972-e325-11ce-bfc1-08002be10318}"),
    };
    let mut models = String::new();
    for device in 0..40 {
        let _ = writeln!(models, "%desc% = Install, PCI\\VEN_F{number:03X}&DEV_{device:04X}");
    }
    let inf = format!(
        "[Version]\nSignature=\"$Windows NT$\"\nClass={class}\nClassGuid={guid}\nProvider=%who%\nDriverVer=01/02/2020,1.0.0.{number}\n\
         [Manufacturer]\n%who%=Models,NTamd64.10.0\n[Models.NTamd64.10.0]\n{models}\
         [Install]\nCopyFiles=Files\n[Files]\nbench{number}.sys\n[DestinationDirs]\nFiles=12\n[SourceDisksNames]\n1=disk\n\
         [SourceDisksFiles]\nbench{number}.sys=1\n\
         [Install.Services]\nAddService=bench{number},2,Service\n\
         [Service]\nServiceType=1\nStartType=3\nErrorControl=1\nServiceBinary=%12%\\bench{number}.sys\n\
         [Strings]\nwho=\"Bench\"\ndesc=\"A device\"\n"
    );
    fs::write(folder.join(format!("bench{number}.inf")), inf)?;
    let program: Vec<u8> = (0..DRIVER_LEN).map(|at| ((at * (number + 3)) >> 3) as u8).collect();
    fs::write(folder.join(format!("bench{number}.sys")), program)?;
    Ok(())
}
