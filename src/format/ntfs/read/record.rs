//! FILE records: their update sequences, their head, and the attributes in them as they stand.

use zerocopy::FromBytes;

use crate::base::bytes::u16_at;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::{NonResidentHeader, RecordHeader, ResidentHeader, STRIDE, kind, record_flag};

/// Undoes the update sequence of a FILE record or an index block: the last two bytes of each stride come from its array.
pub(super) fn fix_up(bytes: &mut [u8], magic: &[u8; 4]) -> Result<()> {
    if !bytes.starts_with(magic) {
        let found = bytes.get(..4).unwrap_or_default();
        return Err(Error::corrupt("signature")
            .at(0)
            .found(format_args!("\"{}\"", found.escape_ascii()))
            .allowed(format_args!("\"{}\"", magic.escape_ascii())));
    }
    let array = usize::from(u16_at(bytes, 4).unwrap_or(0));
    let count = usize::from(u16_at(bytes, 6).unwrap_or(0));
    let strides = bytes.len() / STRIDE;
    if count != strides + 1 || array + 2 * count > STRIDE - 2 {
        return Err(Error::corrupt("update sequence")
            .at(4)
            .found(format_args!("{count} numbers at {array:#x}"))
            .allowed(format_args!("{} numbers before 0x1fe", strides + 1)));
    }
    let number = [bytes[array], bytes[array + 1]];
    for stride in 0..strides {
        let (from, to) = (array + 2 * (stride + 1), (stride + 1) * STRIDE - 2);
        if bytes[to..to + 2] != number {
            return Err(Error::corrupt("update sequence: a torn write")
                .at(to as u64)
                .found(format_args!("{:02x?}", &bytes[to..to + 2]))
                .allowed(format_args!("{number:02x?}")));
        }
        bytes.copy_within(from..from + 2, to);
    }
    Ok(())
}

/// Where the number of a record was put when there was room for it: records with an earlier update sequence lack it.
const NUMBERED_FROM: u16 = 48;

/// A record in use, its update sequence undone.
pub(super) struct Record<'a> {
    pub(super) header: RecordHeader,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Looks at the head of a record; `None` if it is not in use.
    pub(super) fn new(bytes: &'a [u8], number: u32) -> Result<Option<Self>> {
        let (header, _) = RecordHeader::read_from_prefix(bytes).map_err(|_| Error::corrupt("length of a record"))?;
        if header.flags.get() & record_flag::IN_USE == 0 {
            return Ok(None);
        }
        let own = header.number_low.get();
        if header.usa_offset.get() >= NUMBERED_FROM && own != number && own != 0 {
            return Err(Error::corrupt("record number").at(44).found(own).allowed(number));
        }
        let used = header.used.get() as usize;
        let bytes = bytes
            .get(..used)
            .ok_or_else(|| Error::corrupt("used length").at(24).found(used).allowed(format_args!("{}", bytes.len())))?;
        Ok(Some(Self { header, bytes }))
    }

    /// All attributes in the record.
    pub(super) fn attributes(&self) -> Result<Vec<Raw<'a>>> {
        let mut found = Vec::new();
        let mut at = usize::from(self.header.attributes_offset.get());
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            if rest.get(..4) == Some(&kind::END.to_le_bytes()) {
                return Ok(found);
            }
            let raw = Raw::parse(rest).map_err(|error| error.at(at as u64))?;
            at += raw.len;
            found.push(raw);
        }
    }
}

/// An attribute as it stands in a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    len: usize,
    pub(super) kind: u32,
    pub(super) flags: u16,
    pub(super) instance: u16,
    /// In little-endian UTF-16.
    pub(super) name: &'a [u8],
    pub(super) form: Form<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    Resident(&'a [u8]),
    NonResident { header: NonResidentHeader, pairs: &'a [u8] },
}

impl<'a> Raw<'a> {
    fn parse(rest: &'a [u8]) -> Result<Self> {
        let wrong = |what: &str| Error::corrupt(format_args!("attribute: {what}"));
        let (head, _) = ResidentHeader::read_from_prefix(rest).map_err(|_| wrong("no end mark"))?;
        let len = head.len.get() as usize;
        let title = || format!("attribute {:#x}", head.kind.get());
        let bytes = rest.get(..len).filter(|_| len >= size_of::<ResidentHeader>() && len.is_multiple_of(8));
        let bytes = bytes.ok_or_else(|| {
            wrong("length")
                .found(len)
                .allowed(format_args!("a multiple of 8 from 24 to {}", rest.len()))
                .context(title())
        })?;
        let name_at = usize::from(head.name_offset.get());
        let name = bytes.get(name_at..).and_then(|name| name.get(..2 * usize::from(head.name_len)));
        let name = match head.name_len {
            0 => &[],
            _ => name.ok_or_else(|| wrong("place of its name").found(name_at).context(title()))?,
        };
        let form = match head.non_resident {
            0 => {
                let at = usize::from(head.value_offset.get());
                let value = bytes.get(at..).and_then(|value| value.get(..head.value_len.get() as usize));
                Form::Resident(value.ok_or_else(|| {
                    wrong("place of its value")
                        .found(format_args!("{} bytes at {at:#x}", head.value_len))
                        .allowed(format_args!("less than {len}"))
                        .context(title())
                })?)
            }
            _ => {
                let (header, _) = NonResidentHeader::read_from_prefix(bytes)
                    .map_err(|_| wrong("length").found(len).allowed("64 or more").context(title()))?;
                let at = usize::from(header.runs_offset.get());
                let pairs = bytes.get(at..).filter(|_| at >= size_of::<NonResidentHeader>());
                let pairs = pairs.ok_or_else(|| wrong("place of its data runs").found(at).context(title()))?;
                Form::NonResident { header, pairs }
            }
        };
        Ok(Self { len, kind: head.kind.get(), flags: head.flags.get(), instance: head.instance.get(), name, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a resident attribute and one of two runs.
    fn record() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(b"FILE\x30\0\x03\0");
        bytes[16..24].copy_from_slice(&[1, 0, 1, 0, 56, 0, 1, 0]);
        bytes[24..26].copy_from_slice(&(168u16).to_le_bytes());
        bytes[44] = 70;
        bytes[48..54].copy_from_slice(&[7, 0, 0xA1, 0xA2, 0xB1, 0xB2]);
        bytes[56..60].copy_from_slice(&[0x10, 0, 0, 0]);
        bytes[60] = 32;
        bytes[72] = 4; // length of the value
        bytes[76] = 24;
        bytes[80..84].copy_from_slice(b"data");
        bytes[88..92].copy_from_slice(&[0x80, 0, 0, 0]);
        bytes[92..100].copy_from_slice(&[72, 0, 0, 0, 1, 0, 0, 0]);
        bytes[88 + 32] = 64;
        bytes[88 + 64..88 + 69].copy_from_slice(&[0x11, 1, 5, 0, 0]);
        bytes[160..164].copy_from_slice(&[0xFF; 4]);
        bytes[510..512].copy_from_slice(&[7, 0]);
        bytes[1022..1024].copy_from_slice(&[7, 0]);
        bytes
    }

    #[test]
    fn undoes_update_sequences() {
        let mut bytes = record();
        fix_up(&mut bytes, b"FILE").unwrap();
        assert_eq!((&bytes[510..512], &bytes[1022..]), (&[0xA1, 0xA2][..], &[0xB1, 0xB2][..]));
        for (at, message) in [(0, "signature"), (6, "update sequence"), (5, "update sequence"), (1022, "a torn write")]
        {
            let mut bytes = record();
            bytes[at] ^= 0x40;
            let error = fix_up(&mut bytes, b"FILE").unwrap_err().to_string();
            assert!(error.starts_with(message) || error.contains(message), "{error}");
        }
    }

    #[test]
    fn finds_attributes() {
        let bytes = record();
        let record = Record::new(&bytes, 70).unwrap().unwrap();
        let raws = record.attributes().unwrap();
        assert_eq!(raws.iter().map(|raw| raw.kind).collect::<Vec<_>>(), [0x10, 0x80]);
        assert!(matches!(raws[0].form, Form::Resident(b"data")));
        assert!(matches!(raws[1].form, Form::NonResident { pairs: [0x11, 1, 5, 0, ..], .. }));
        assert!(Record::new(&bytes, 71).is_err(), "it is record 70");
        let mut unused = bytes;
        unused[22] = 0;
        assert!(Record::new(&unused, 70).unwrap().is_none());
    }

    #[test]
    fn every_byte_may_be_anything() {
        let good = record();
        for at in 0..170 {
            for value in [0, 1, 7, 8, 0x7F, 0x80, 0xFF, good[at] ^ 1] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = fix_up(&mut bytes, b"FILE");
                if let Ok(Some(record)) = Record::new(&bytes, 70) {
                    let _ = record.attributes().map(|raws| assert!(raws.len() < 50));
                }
            }
        }
    }
}
