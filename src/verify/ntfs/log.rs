//! `$LogFile`: whether there is something to be replayed.

use super::attributes::{Extents, Stream};
use super::context::Context;
use super::record::fix_up;
use crate::base::bytes::{u16_at, u32_at, u64_at};
use crate::format::ntfs::ondisk::{file, kind};
use crate::verify::{Finding, Rule};

/// The smallest journal that Windows takes.
const SMALLEST: u64 = 256 << 10;
/// The journal is read in pieces of this length.
const PIECE: usize = 1 << 20;
/// A restart page without its page size, which is at 16.
const RESTART_HEAD: usize = 32;
/// No page of a journal is longer.
const LONGEST_PAGE: u32 = 64 << 10;
/// Flag of a restart area: the volume was closed cleanly.
const CLEAN: u16 = 2;
/// A list of clients that is empty.
const NO_CLIENT: u16 = 0xFFFF;

/// Checks the journal.
pub(super) fn check(context: &mut Context<'_>) {
    let Some(mut loaded) = context.volume.load(file::LOG_FILE) else { return };
    let attributes = loaded.attributes();
    match context.volume.stream(&attributes, kind::DATA, "") {
        Some(Stream::NonResident(extents)) => Log { context, extents }.check(),
        Some(Stream::Resident(_)) => fault(context, "it lies in its record".to_owned(), "in clusters"),
        None => {} // said by the checks of system files
    }
}

fn fault(context: &mut Context<'_>, found: String, allowed: &str) {
    let finding = Finding::new(Rule::LogFile, found).allowed(allowed).record(u64::from(file::LOG_FILE)).part("$DATA");
    context.add(finding);
}

struct Log<'c, 'v> {
    context: &'c mut Context<'v>,
    extents: Extents,
}

/// What a restart page says.
struct Restart {
    lsn: u64,
    clean: bool,
    page: u32,
}

impl Log<'_, '_> {
    fn check(mut self) {
        let Extents { size, initialized, .. } = self.extents;
        if size < SMALLEST || initialized != size || self.extents.has_holes() {
            let found = format!("{size} bytes, {initialized} of them initialised");
            let allowed = "256 KiB and more in clusters, all of them initialised";
            return fault(self.context, found, allowed);
        }
        let mut head = [0; RESTART_HEAD];
        if let Err(error) = self.context.volume.read_stream(&self.extents, 0, &mut head) {
            return fault(self.context, error.to_string(), "a journal that can be read");
        }
        match &head[..4] {
            [0xFF, 0xFF, 0xFF, 0xFF] => self.check_empty(),
            b"RSTR" => self.check_restart(),
            other => {
                let found = format!("it begins with {:?}", other.escape_ascii().to_string());
                fault(self.context, found, "a restart page, or nothing but ones");
            }
        }
    }

    /// An empty journal is all ones.
    fn check_empty(&mut self) {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < self.extents.size {
            let len = (self.extents.size - at).min(PIECE as u64) as usize;
            if let Err(error) = self.context.volume.read_stream(&self.extents, at, &mut piece[..len]) {
                return fault(self.context, error.to_string(), "a journal that can be read");
            }
            let sum = piece[..len].iter().fold(0xFF, |all, byte| all & byte);
            if sum != 0xFF {
                let byte = piece[..len].iter().position(|byte| *byte != 0xFF).unwrap_or(0);
                let found = format!("an empty journal with something else than ones at byte {:#x}", at + byte as u64);
                return fault(self.context, found, "nothing but ones");
            }
            at += len as u64;
        }
    }

    /// The younger of the two restart pages says whether the journal was closed.
    fn check_restart(&mut self) {
        let first = self.restart(0);
        let page = first.as_ref().map_or(4096, |first| first.page);
        let second = self.restart(u64::from(page));
        let Some(restart) = [first, second].into_iter().flatten().max_by_key(|restart| restart.lsn) else {
            return fault(self.context, "no whole restart page".to_owned(), "one of two at least");
        };
        if !restart.clean {
            let found = format!("it was not closed (last LSN {:#x})", restart.lsn);
            fault(self.context, found, "a journal that was closed");
        }
    }

    fn restart(&self, at: u64) -> Option<Restart> {
        let mut head = [0; RESTART_HEAD];
        self.context.volume.read_stream(&self.extents, at, &mut head).ok()?;
        let page = u32_at(&head, 16).filter(|page| page.is_power_of_two() && (512..=LONGEST_PAGE).contains(page))?;
        let mut bytes = vec![0; page as usize];
        self.context.volume.read_stream(&self.extents, at, &mut bytes).ok()?;
        let usa = usize::from(u16_at(&bytes, 4)?);
        let area = usize::from(u16_at(&bytes, 24)?);
        if !bytes.starts_with(b"RSTR")
            || usa + 2 * (page as usize / 512 + 1) > 510
            || fix_up(&mut bytes, &[usa]).is_err()
        {
            return None;
        }
        let (lsn, in_use, flags) = (u64_at(&bytes, area)?, u16_at(&bytes, area + 12)?, u16_at(&bytes, area + 14)?);
        Some(Restart { lsn, clean: flags & CLEAN != 0 || in_use == NO_CLIENT, page })
    }
}
