//! What each type of attribute may be: `$AttrDef`'s table, and what it does not say.

use crate::format::ntfs::ondisk::kind;

/// Whether an attribute's value lies in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residence {
    Resident,
    Either,
    NonResident,
}

/// A type of attributes.
pub(super) struct Kind {
    pub(super) code: u32,
    pub(super) name: &'static str,
    /// The flags of `$AttrDef`: 2 indexed, 0x40 always resident, 0x80 may be non-resident.
    pub(super) flags: u32,
    /// The lengths of `$AttrDef`.
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) residence: Residence,
    /// Whether attributes of this type may have a name.
    pub(super) named: bool,
}

const ANY: u64 = u64::MAX;

macro_rules! kinds {
    ($($code:ident $name:literal $flags:literal $min:literal..=$max:expr, $residence:ident $named:literal;)*) => {
        /// All of them, in the order of their codes, as Windows 10 writes the table into `$AttrDef`.
        pub(super) const KINDS: &[Kind] = &[$(Kind {
            code: kind::$code, name: $name, flags: $flags, min: $min, max: $max, residence: Residence::$residence, named: $named,
        },)*];
    };
}

kinds! {
    STANDARD_INFORMATION "$STANDARD_INFORMATION" 0x40 0x30..=0x48, Resident false;
    ATTRIBUTE_LIST "$ATTRIBUTE_LIST" 0x80 0..=ANY, Either false;
    FILE_NAME "$FILE_NAME" 0x42 0x44..=0x242, Resident false;
    OBJECT_ID "$OBJECT_ID" 0x40 0..=0x100, Resident false;
    SECURITY_DESCRIPTOR "$SECURITY_DESCRIPTOR" 0x80 0..=ANY, Either false;
    VOLUME_NAME "$VOLUME_NAME" 0x40 2..=0x100, Resident false;
    VOLUME_INFORMATION "$VOLUME_INFORMATION" 0x40 0xC..=0xC, Resident false;
    DATA "$DATA" 0 0..=ANY, Either true;
    INDEX_ROOT "$INDEX_ROOT" 0x40 0..=ANY, Resident true;
    INDEX_ALLOCATION "$INDEX_ALLOCATION" 0x80 0..=ANY, NonResident true;
    BITMAP "$BITMAP" 0x80 0..=ANY, Either true;
    REPARSE_POINT "$REPARSE_POINT" 0x80 0..=0x4000, Either false;
    EA_INFORMATION "$EA_INFORMATION" 0x40 8..=8, Resident false;
    EA "$EA" 0 0..=0x1_0000, Either false;
    LOGGED_UTILITY_STREAM "$LOGGED_UTILITY_STREAM" 0x80 0..=0x1_0000, Either true;
}

/// The type of that code.
pub(super) fn of(code: u32) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.code == code)
}

/// Its name, or its number in words.
pub(super) fn name(code: u32) -> String {
    of(code).map_or_else(|| format!("attribute {code:#x}"), |kind| kind.name.to_owned())
}
