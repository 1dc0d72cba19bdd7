//! `cargo xtask boot`: assembles the boot programs in `templates/boot`.
//!
//! The results are checked in, so that building nanovhd needs no assembler; `--check` proves that they are what the
//! sources give.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nanovhd::error::{Context, Error, Kind, Result};

/// A boot program: `<name>.asm` becomes `<name>.<extension>`.
struct Program {
    name: &'static str,
    extension: &'static str,
    /// What the assembler cannot do: checks of the result, and fields that depend on all of it.
    finish: fn(&mut [u8]) -> Result<()>,
}

const PROGRAMS: [Program; 5] = [
    Program { name: "fat32", extension: "bin", finish: |code| expect_len(code, 1536..=1536) },
    Program { name: "mbr", extension: "bin", finish: |code| expect_len(code, 1..=440) },
    Program { name: "ntfs", extension: "bin", finish: |code| expect_len(code, 8192..=8192) },
    Program { name: "standin", extension: "bin", finish: seal },
    Program { name: "standin-efi", extension: "efi", finish: |code| check_efi(code) },
];

/// Assembles all boot programs, and writes them or, with `check`, compares them with what is checked in.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/boot");
    for program in &PROGRAMS {
        let path = folder.join(program.name).with_extension(program.extension);
        let code = assemble(&folder, program).context(|| format!("{}.asm", program.name))?;
        let context = || path.display().to_string();
        if check {
            let found = fs::read(&path).map_err(|e| Error::io("cannot read", e)).context(context)?;
            compare(&found, &code).context(context)?;
        } else {
            fs::write(&path, &code).map_err(|e| Error::io("cannot write", e)).context(context)?;
        }
    }
    Ok(())
}

fn compare(found: &[u8], assembled: &[u8]) -> Result<()> {
    if found == assembled {
        return Ok(());
    }
    let same = found.iter().zip(assembled).take_while(|(a, b)| a == b).count();
    Err(Error::corrupt("not what its source gives")
        .at(same as u64)
        .found(format_args!("{} bytes", found.len()))
        .allowed(format_args!("{} bytes as assembled", assembled.len()))
        .hint("run `cargo xtask boot` and commit the result"))
}

fn assemble(folder: &Path, program: &Program) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir().map_err(|e| Error::io("cannot make a temporary folder", e))?;
    let output: PathBuf = scratch.path().join("code.bin");
    // Includes are looked up in the working directory; a bare file name keeps paths out of any message.
    let result = Command::new("nasm")
        .current_dir(folder)
        .args(["-f", "bin", "-w+error", "-o"])
        .arg(&output)
        .arg(format!("{}.asm", program.name))
        .output()
        .map_err(|e| Error::io("cannot run nasm", e).hint("install the package nasm"))?;
    if !result.status.success() {
        return Err(Error::invalid("nasm refuses it").found(String::from_utf8_lossy(&result.stderr).trim()));
    }
    let mut code = fs::read(&output).map_err(|e| Error::io("cannot read nasm's output", e))?;
    (program.finish)(&mut code)?;
    Ok(code)
}

fn expect_len(code: &[u8], allowed: std::ops::RangeInclusive<usize>) -> Result<()> {
    if allowed.contains(&code.len()) {
        return Ok(());
    }
    let allowed = format!("{} to {} bytes", allowed.start(), allowed.end());
    Err(Error::new(Kind::NoSpace, "code size").found(code.len()).allowed(allowed))
}

/// Puts the CRC-32 of the whole stand-in BOOTMGR, with the field itself zero, where its header wants it.
fn seal(code: &mut [u8]) -> Result<()> {
    const MAGIC: usize = 4;
    const LENGTH: usize = 8;
    const CRC: usize = 12;
    let field = |at: usize| code.get(at..at + 4).map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
    let len = u32::try_from(code.len()).ok().map(u32::to_le_bytes);
    if field(MAGIC) != Some(*b"NVSI") || field(LENGTH) != len || field(CRC) != Some([0; 4]) {
        return Err(Error::corrupt("stand-in header: not magic, file length and a zero checksum").at(MAGIC as u64));
    }
    let crc = crc32(code);
    code[CRC..CRC + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The stand-in for UEFI has to be what firmware takes: an application for AMD64, as long as its headers say.
fn check_efi(code: &[u8]) -> Result<()> {
    const PE: usize = 0x40;
    const OPTIONAL: usize = PE + 24;
    const SECTIONS: usize = OPTIONAL + 240;
    let number = |at: usize, len: usize| {
        let bytes = code.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    };
    let bad = |what: &str, at: usize| Error::corrupt(format_args!("stand-in for UEFI: {what}")).at(at as u64);
    if code.get(PE..PE + 4) != Some(b"PE\0\0") || number(PE + 4, 2) != Some(0x8664) {
        return Err(bad("headers of a program for AMD64", PE));
    }
    if number(OPTIONAL, 2) != Some(0x20B) || number(OPTIONAL + 68, 2) != Some(10) {
        return Err(bad("headers of an EFI application", OPTIONAL));
    }
    // The second section is the last that has bytes in the file.
    let at = SECTIONS + 40 + 16;
    let end = number(at, 4).zip(number(at + 4, 4)).and_then(|(len, start)| len.checked_add(start));
    if end.map(|end| end as usize) != Some(code.len()) {
        return Err(bad("sections that end with the file", at));
    }
    Ok(())
}

/// CRC-32 as in zip files: reflected polynomial 0xEDB88320, inverted before and after.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn seals_only_what_has_the_header() {
        let mut code = *b"\xE9..\0NVSI\x12\0\0\0\0\0\0\0xy";
        seal(&mut code).unwrap();
        let mut unsealed = code;
        unsealed[12..16].fill(0);
        assert_eq!(code[12..16], crc32(&unsealed).to_le_bytes());
        assert!(seal(&mut code).is_err(), "sealed twice");
        assert!(seal(&mut code[..10]).is_err());
    }

    #[test]
    fn takes_only_an_efi_application() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/boot/standin-efi.efi");
        let good = fs::read(path).unwrap();
        assert!(check_efi(&good).is_ok());
        assert!(check_efi(&good[..good.len() - 1]).is_err());
        assert!(check_efi(&good[..0x90]).is_err());
        for at in [0x40, 0x44, 0x58, 0x58 + 68] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(check_efi(&bad).is_err(), "{at:#x}");
        }
    }

    #[test]
    fn names_the_first_difference() {
        let error = compare(b"abX", b"abcd").unwrap_err().to_string();
        assert!(error.contains("(at offset 0x2)"), "{error}");
        assert!(compare(b"ab", b"ab").is_ok());
    }
}
