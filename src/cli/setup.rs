//! The options that make an image a machine of its own: files read, passwords asked for, keys made.

use std::io;
use std::path::Path;

use super::args::SetupArgs;
use crate::error::{Context, Error, Result};
use crate::format::certificate::SelfSigned;
use crate::image::host;
use crate::image::seed::Seed;
use crate::windows::setup::{ComputerName, Secret, Setup, Unattend, WinRm};

/// A file with a password is one line, or little more.
const MAX_PASSWORD_FILE: u64 = 1 << 16;
const MAX_UNATTEND: u64 = 4 << 20;

/// The name in a certificate of a machine whose name nobody knows yet.
const NAMELESS: &str = "winrm";

/// What the arguments ask for.
pub(super) fn setup(args: &SetupArgs, seed: Option<u64>) -> Result<Setup> {
    let unattend = args.unattend.as_deref().map(|path| {
        host::read_small(path, MAX_UNATTEND).and_then(|bytes| Unattend::parse(&bytes).context(|| path.display()))
    });
    let winrm = args.winrm || args.winrm_https || args.winrm_basic;
    let computer_name = args.computer_name.as_deref().map(ComputerName::parse).transpose()?;
    let mut setup = Setup {
        computer_name,
        admin_password: password(args)?,
        unattend: unattend.transpose()?,
        time_zone: args.time_zone.clone(),
        winrm: winrm.then(|| WinRm { basic: args.winrm_basic, ..WinRm::default() }),
        azure: false,
        first_start: args.setup_complete.clone(),
    };
    if let Some(winrm) = setup.winrm.as_mut().filter(|_| args.winrm_https) {
        let name = setup.computer_name.as_ref().and_then(ComputerName::fixed).unwrap_or(NAMELESS);
        winrm.https = Some(certificate(name, seed)?);
        winrm.guessable = seed.is_some();
    }
    Ok(setup)
}

/// A key that anybody could work out would be none: it follows from the seed only if the user chose that.
fn certificate(name: &str, seed: Option<u64>) -> Result<SelfSigned> {
    let seed = match seed {
        Some(chosen) => Seed::from_parts([&b"chosen"[..], &chosen.to_le_bytes()]),
        None => Seed::by_chance()?,
    };
    SelfSigned::new(name, &seed.derive(&format!("certificate of {name}")))
}

/// The password, read or asked for.
pub(super) fn password(args: &SetupArgs) -> Result<Option<Secret>> {
    match &args.admin_password_file {
        None if args.admin_password_prompt => prompted().map(Some),
        None => Ok(None),
        Some(path) if path == Path::new("-") => {
            let bytes = host::read_up_to(io::stdin().lock(), MAX_PASSWORD_FILE).context(|| "standard input")?;
            Secret::first_line(&bytes).context(|| "standard input").map(Some)
        }
        Some(path) => {
            let bytes = host::read_small(path, MAX_PASSWORD_FILE)?;
            Secret::first_line(&bytes).context(|| path.display()).map(Some)
        }
    }
}

/// Asks at the terminal, twice, without showing what is typed.
fn prompted() -> Result<Secret> {
    let ask = |what: &str| {
        let typed = rpassword::prompt_password(what).map_err(|e| Error::io("the password cannot be asked for", e));
        typed
            .map_err(|error| error.hint("without a terminal, say --admin-password-file"))
            .and_then(|text| Secret::new(&text))
    };
    let first = ask("Administrator's password: ")?;
    if ask("Once more: ")? != first {
        return Err(Error::invalid("the two passwords differ"));
    }
    Ok(first)
}
