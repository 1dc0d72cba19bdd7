//! Device elements: which partition is meant, in the boot programs' own binary form.

use uuid::Uuid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a device element points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// The partition that the boot manager was loaded from.
    Boot,
    /// Whichever partition has the file or folder that this element of the same object names: 0x12000002 is the path of the
    /// program, 0x22000002 the system root.
    Locate {
        /// The code of the element.
        element: u32,
    },
    /// A partition of a disk with an MBR.
    MbrPartition {
        /// The disk's signature.
        signature: u32,
        /// Where the partition begins, in bytes.
        offset: u64,
    },
    /// A partition of a disk with a GPT.
    GptPartition {
        /// The disk's identifier.
        disk: Uuid,
        /// The partition's identifier.
        partition: Uuid,
    },
    /// Anything else, verbatim: RAM disks, files as disks, devices with options.
    Raw(Vec<u8>),
}

const TYPE_BOOT: u32 = 5;
const TYPE_PARTITION: u32 = 6;
const TYPE_LOCATE: u32 = 8;
/// Of a partition's disk.
const SCHEME_GPT: u32 = 0;
const SCHEME_MBR: u32 = 1;

/// What every device element begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    /// The object with further options; zero for none.
    options: [u8; 16],
    kind: U32,
    flags: U32,
    /// Bytes behind `options`.
    size: U32,
    reserved: U32,
}

/// Behind the [`Head`] of a partition or of the boot device.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Partition {
    head: Head,
    /// GPT: the identifier. MBR: the offset in bytes, and 8 zeros.
    partition: [u8; 16],
    disk_kind: U32,
    scheme: U32,
    /// GPT: the identifier. MBR: the signature, and 12 zeros.
    disk: [u8; 16],
    reserved: [u8; 16],
}
const _: () = assert!(size_of::<Partition>() == 88);

/// Behind the [`Head`] of a device to be located.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Locate {
    head: Head,
    /// 0: by an element.
    kind: U32,
    element: U32,
    reserved: U32,
    path: U16,
}
const _: () = assert!(size_of::<Locate>() == 46);

impl Device {
    /// The bytes of the element.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Boot => partition(TYPE_BOOT, |_| ()),
            Self::MbrPartition { signature, offset } => partition(TYPE_PARTITION, |p| {
                p.scheme = SCHEME_MBR.into();
                p.partition[..8].copy_from_slice(U64::new(*offset).as_bytes());
                p.disk[..4].copy_from_slice(U32::new(*signature).as_bytes());
            }),
            Self::GptPartition { disk, partition: id } => partition(TYPE_PARTITION, |p| {
                p.scheme = SCHEME_GPT.into();
                p.partition = id.to_bytes_le();
                p.disk = disk.to_bytes_le();
            }),
            Self::Locate { element } => {
                let mut locate = Locate::new_zeroed();
                locate.head.kind = TYPE_LOCATE.into();
                locate.head.size = (size_of::<Locate>() as u32 - 16).into();
                locate.element = (*element).into();
                locate.as_bytes().to_vec()
            }
        }
    }

    /// What the bytes of an element mean. Whatever is not exactly one of the other forms is [`Raw`](Device::Raw), so that
    /// [`to_bytes`](Device::to_bytes) gives back the same bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let device = Self::guess(bytes).filter(|device| device.to_bytes() == bytes);
        device.unwrap_or_else(|| Self::Raw(bytes.to_vec()))
    }

    fn guess(bytes: &[u8]) -> Option<Self> {
        let (head, _) = Head::ref_from_prefix(bytes).ok()?;
        if head.kind.get() == TYPE_LOCATE {
            return Some(Self::Locate { element: Locate::ref_from_bytes(bytes).ok()?.element.get() });
        }
        let p = Partition::ref_from_bytes(bytes).ok()?;
        match (head.kind.get(), p.scheme.get()) {
            (TYPE_BOOT, _) => Some(Self::Boot),
            (TYPE_PARTITION, SCHEME_GPT) => Some(Self::GptPartition {
                disk: Uuid::from_bytes_le(p.disk),
                partition: Uuid::from_bytes_le(p.partition),
            }),
            (TYPE_PARTITION, SCHEME_MBR) => Some(Self::MbrPartition {
                signature: U32::read_from_prefix(&p.disk).ok()?.0.get(),
                offset: U64::read_from_prefix(&p.partition).ok()?.0.get(),
            }),
            _ => None,
        }
    }
}

fn partition(kind: u32, fill: impl FnOnce(&mut Partition)) -> Vec<u8> {
    let mut partition = Partition::new_zeroed();
    partition.head.kind = kind.into();
    partition.head.size = (size_of::<Partition>() as u32 - 16).into();
    fill(&mut partition);
    partition.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from hexadecimal digits; `00*16` stands for 16 zero bytes.
    fn bytes(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for word in text.split_whitespace() {
            match word.split_once('*') {
                Some(("00", times)) => out.resize(out.len() + times.parse::<usize>().unwrap(), 0),
                _ => out.extend((0..word.len()).step_by(2).map(|i| u8::from_str_radix(&word[i..i + 2], 16).unwrap())),
            }
        }
        out
    }

    fn is(device: &Device, text: &str) {
        assert_eq!(device.to_bytes(), bytes(text));
        assert_eq!(&Device::from_bytes(&bytes(text)), device);
    }

    /// The bytes are of stores that Microsoft's boot programs were seen to boot from.
    #[test]
    fn devices_have_the_bytes_that_boot() {
        is(
            &Device::MbrPartition { signature: 0x4E41_4E4F, offset: 1 << 20 },
            "00*16 06000000 00000000 48000000 00000000 0000100000000000 0000000000000000 00000000 01000000 4f4e414e 00*12 00*16",
        );
        is(
            &Device::GptPartition {
                disk: Uuid::from_u128(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00),
                partition: Uuid::from_u128(0xb2b2_b2b2_1111_2222_3333_4444_4444_4444),
            },
            "00*16 06000000 00000000 48000000 00000000 b2b2b2b211112222 3333444444444444 00000000 00000000 \
             44332211 6655 8877 99aabbccddeeff00 00*16",
        );
        is(&Device::Boot, "00*16 05000000 00000000 48000000 00000000 00*56");
        is(
            &Device::Locate { element: 0x1200_0002 },
            "00*16 08000000 00000000 1e000000 00000000 00000000 02000012 00000000 0000",
        );
        is(
            &Device::Locate { element: 0x2200_0002 },
            "00*16 08000000 00000000 1e000000 00000000 00000000 02000022 00000000 0000",
        );
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let good = Device::MbrPartition { signature: 1, offset: 2 }.to_bytes();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x40;
            assert_eq!(Device::from_bytes(&changed).to_bytes(), changed);
            let cut = &good[..at];
            assert_eq!(Device::from_bytes(cut), Device::Raw(cut.to_vec()));
        }
        let with_options = [&[7; 16], &good[16..]].concat();
        assert_eq!(Device::from_bytes(&with_options), Device::Raw(with_options));
    }
}
