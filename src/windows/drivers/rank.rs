//! How Plug and Play chooses between drivers: the lower the rank, the better.
//!
//! ```text
//! SSGGTHHH   SS  signature: 00 trusted, 80 unsigned, C0 unsigned and from a section that is not for NT, FF unknown
//!            GG  feature score: FF unless the INF says another
//!            T   0 hardware id of the device is the hardware id of the model, 1 it is a compatible id of the model,
//!                2 compatible id of the device is the hardware id of the model, 3 it is a compatible id of the model
//!            HHH where the id is in the device's list; for T = 3 that, and 100h times where it is in the model's
//! ```
//! Of drivers of one rank the one with the newest date wins, and of those the one with the highest version.
//!
//! All trusted signatures count alike, which is Windows' default since Windows 7 (the policy "all digitally signed drivers equal").
//!
//! # Sources
//! Microsoft, "How Windows ranks drivers", "Signature score", "Feature score", "Identifier score", "How Windows selects a driver for a
//! device"; the numbers of signatures are those of the Windows SDK's `setupapi.h` (`SIGNERSCORE_...`).

use std::cmp::Ordering;

use super::{DeviceIds, IdKind};
use crate::base::{FileTime, Version};

/// The worst position within an identifier score.
const LAST_POSITION: u32 = 0xFFF;
/// `SIGNERSCORE_SIGNED_MASK`: a score with any of these bits is of no trusted signature.
const UNTRUSTED: u32 = 0xF000_0000;
/// `SIGNERSCORE_MASK`.
const SIGNATURE: u32 = 0xFF00_0000;

/// What a package has to say about one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The id.
    pub id: &'a str,
    /// Whether it is the hardware id of its model.
    pub kind: IdKind,
    /// Where it is among the model's compatible ids.
    pub index: u16,
    /// The feature score.
    pub feature: u8,
    /// `SignerScore` of the package.
    pub signer_score: u32,
    /// The date of the driver.
    pub date: FileTime,
    /// The version of the driver.
    pub version: Version,
}

/// How good an offer is for a device; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// SSGGTHHH.
    pub number: u32,
    date: FileTime,
    version: Version,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let newest = |rank: &Self| (rank.date, rank.version);
        self.number.cmp(&other.number).then(newest(other).cmp(&newest(self)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Rank {
    /// The rank of an offer for a device; none if the device has no such id. Ids have no case.
    pub fn of(device: &DeviceIds, offer: &Offer<'_>) -> Option<Self> {
        let number = signature_score(offer.signer_score)
            | u32::from(offer.feature) << 16
            | identifier_score(device, offer.id, offer.kind, offer.index)?;
        Some(Self { number, date: offer.date, version: offer.version })
    }
}

/// 0xSS000000.
fn signature_score(signer_score: u32) -> u32 {
    if signer_score & UNTRUSTED == 0 { 0 } else { signer_score & SIGNATURE }
}

/// 0x0000THHH of an id of a model, if the device has that id.
fn identifier_score(device: &DeviceIds, id: &str, kind: IdKind, index: u16) -> Option<u32> {
    let position = |ids: &[String]| {
        let found = ids.iter().position(|own| own.eq_ignore_ascii_case(id))?;
        Some(u32::try_from(found).unwrap_or(u32::MAX))
    };
    let (kind, position) = match (position(&device.hardware), kind) {
        (Some(place), IdKind::Hardware) => (0, place),
        (Some(place), IdKind::Compatible) => (1, place),
        (None, IdKind::Hardware) => (2, position(&device.compatible)?),
        (None, IdKind::Compatible) => (3, position(&device.compatible)?.saturating_add(u32::from(index) * 0x100)),
    };
    Some(kind << 12 | position.min(LAST_POSITION))
}

/// The offers for a device, the best first. Of offers that are equal in everything the first stays first.
pub fn ranked<'a, T>(device: &DeviceIds, offers: impl IntoIterator<Item = (Offer<'a>, T)>) -> Vec<(Rank, T)> {
    let ranks = offers.into_iter().filter_map(|(offer, of)| Some((Rank::of(device, &offer)?, of)));
    let mut ranks: Vec<(Rank, T)> = ranks.collect();
    ranks.sort_by_key(|(rank, _)| *rank);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOX: u32 = 0x0D00_0003;
    const WHQL: u32 = 0x0D00_0005;
    const AUTHENTICODE: u32 = 0x0F00_0000;
    const UNSIGNED: u32 = 0x8000_0000;

    fn device() -> DeviceIds {
        let list = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        DeviceIds { hardware: list(&["hw0", "hw1", "hw2"]), compatible: list(&["c0", "c1"]) }
    }

    fn offer(id: &str, kind: IdKind, index: u16) -> Offer<'_> {
        Offer {
            id,
            kind,
            index,
            feature: 0xFF,
            signer_score: WHQL,
            date: FileTime(100),
            version: Version([1, 0, 0, 0]),
        }
    }

    fn number(offer: &Offer<'_>) -> Option<u32> {
        Rank::of(&device(), offer).map(|rank| rank.number)
    }

    /// The four kinds of "Identifier score", with the bounds that it gives for each.
    #[test]
    fn identifier_scores_are_as_documented() {
        use IdKind::{Compatible, Hardware};
        for (id, kind, index, expected) in [
            ("hw0", Hardware, 0, 0x00FF_0000),
            ("HW2", Hardware, 0, 0x00FF_0002),
            ("hw0", Compatible, 5, 0x00FF_1000),
            ("hw1", Compatible, 0, 0x00FF_1001),
            ("c0", Hardware, 0, 0x00FF_2000),
            ("c1", Hardware, 7, 0x00FF_2001),
            ("c0", Compatible, 0, 0x00FF_3000),
            ("c1", Compatible, 2, 0x00FF_3201), // j + k * 100h
            ("c1", Compatible, 0xFFFF, 0x00FF_3FFF),
        ] {
            assert_eq!(number(&offer(id, kind, index)), Some(expected), "{id} {kind:?} {index}");
        }
        assert_eq!(number(&offer("hw", Hardware, 0)), None);
    }

    #[test]
    fn positions_end_at_fff() {
        let hardware = (0..0x2000).map(|number| format!("hw{number}")).collect();
        let device = DeviceIds { hardware, compatible: Vec::new() };
        let last = Rank::of(&device, &offer("hw8191", IdKind::Hardware, 0)).unwrap();
        assert_eq!(last.number, 0x00FF_0FFF);
    }

    /// "Feature score": FDh gives 00FD0000h.
    #[test]
    fn features_come_before_ids() {
        let featured = Offer { feature: 0xFD, ..offer("c1", IdKind::Compatible, 0) };
        assert_eq!(number(&featured), Some(0x00FD_3001));
        assert!(number(&featured) < number(&offer("hw0", IdKind::Hardware, 0)));
    }

    /// "Signature score": what is trusted is alike, and before all that is not.
    #[test]
    fn signatures_come_before_all() {
        let signed = |signer_score, id| Offer { signer_score, ..offer(id, IdKind::Hardware, 0) };
        for trusted in [INBOX, WHQL, AUTHENTICODE] {
            assert_eq!(number(&signed(trusted, "hw0")), Some(0x00FF_0000));
        }
        assert_eq!(number(&signed(UNSIGNED, "hw0")), Some(0x80FF_0000));
        assert_eq!(number(&signed(0xC000_0000, "hw0")), Some(0xC0FF_0000));
        assert_eq!(number(&signed(u32::MAX, "hw0")), Some(0xFFFF_0000));
        assert!(number(&signed(WHQL, "c1")) < number(&signed(UNSIGNED, "hw0")));
    }

    #[test]
    fn of_equals_the_newest_wins() {
        let dated = |date, version| Offer { date: FileTime(date), version, ..offer("hw0", IdKind::Hardware, 0) };
        let offers = [
            (dated(100, Version([9, 0, 0, 0])), "old"),
            (dated(200, Version([1, 2, 0, 0])), "lower"),
            (dated(200, Version([1, 10, 0, 0])), "best"),
            (dated(200, Version([1, 10, 0, 0])), "the same"),
            (Offer { date: FileTime(900), ..offer("hw1", IdKind::Hardware, 0) }, "new, but worse"),
            (Offer { date: FileTime(900), ..offer("other", IdKind::Hardware, 0) }, "none of this device's"),
        ];
        let ranked: Vec<&str> = ranked(&device(), offers).into_iter().map(|(_, name)| name).collect();
        assert_eq!(ranked, ["best", "the same", "lower", "old", "new, but worse"]);
    }
}
