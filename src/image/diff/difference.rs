//! What a comparison tells.

use serde::{Serialize, Serializer};

use super::Trouble;

/// Where something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The disk around the volume, and what the volume says about itself.
    Disk,
    /// The files.
    Files,
    /// A hive in a file.
    Registry,
    /// A boot store in a file.
    Boot,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The second side alone has it.
    Added,
    /// The first side alone has it.
    Removed,
    /// Both have it, but not the same.
    Changed,
    /// A hive that means the same in other bytes: no difference, but worth a word.
    Same,
    /// It could not be compared.
    Unknown,
}

macro_rules! aspects {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What can differ about a file, or about something in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Aspect {
            $($(#[$doc])* $variant,)*
        }

        impl Aspect {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name of it, for options and for scripts.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

aspects! {
    /// File or directory.
    Kind = "kind",
    /// The case of the name.
    NameCase = "name-case",
    /// The length of a stream.
    Size = "size",
    /// The bytes of a stream.
    Contents = "contents",
    /// Attributes but for those that follow from the rest.
    Attributes = "attributes",
    /// The time at which it was made.
    Created = "created",
    /// The time at which data was last written.
    Modified = "modified",
    /// The time at which metadata last changed.
    Changed = "changed",
    /// The time at which it was last read.
    Accessed = "accessed",
    /// The security descriptor, of files and of keys.
    Security = "security",
    /// The 8.3 name.
    ShortName = "short-name",
    /// The reparse point.
    Reparse = "reparse",
    /// The object id.
    ObjectId = "object-id",
    /// An extended attribute.
    ExtendedAttribute = "extended-attributes",
    /// Whether there is a named stream.
    Stream = "streams",
    /// Whether a stream is sparse.
    Sparse = "sparse",
    /// Whether names in the directory may differ in case only.
    CaseSensitivity = "case-sensitivity",
    /// Which names lead to one file.
    HardLinks = "hard-links",
    /// What hives hold: keys, values, and the class and flags of keys.
    Registry = "registry",
    /// Boot stores as such; without it they are compared as hives.
    Boot = "bcd",
    /// Partitions, volumes, boot code.
    Disk = "disk",
}

impl Serialize for Aspect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A set of aspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aspects(u32);

impl Aspects {
    /// The set of these.
    pub fn of(aspects: &[Aspect]) -> Self {
        aspects.iter().fold(Self::default(), |mut set, aspect| {
            set.insert(*aspect);
            set
        })
    }

    /// Adds one.
    pub fn insert(&mut self, aspect: Aspect) {
        self.0 |= 1 << aspect as u32;
    }

    /// Whether it is one of them.
    pub fn contains(self, aspect: Aspect) -> bool {
        self.0 & 1 << aspect as u32 != 0
    }

    /// Those of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, in the order of [`Aspect::ALL`].
    pub fn names(self) -> Vec<Aspect> {
        Aspect::ALL.iter().copied().filter(|aspect| self.contains(*aspect)).collect()
    }
}

/// How something is on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// A number, of bytes for the most part.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Anything else.
    Text(String),
    /// The data of a registry value.
    Value {
        /// `REG_SZ`, `REG_DWORD`, ...
        #[serde(rename = "type")]
        kind: String,
        /// The data, readable.
        data: String,
        /// Its length in bytes.
        bytes: usize,
    },
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// What it is about.
    #[serde(rename = "what")]
    pub aspect: Aspect,
    /// Which one: the name of a stream or extended attribute, the kind of fact about a disk or key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// As it is on the first side; nothing where it is not there, or not known.
    pub a: Option<Fact>,
    /// As it is on the second side.
    pub b: Option<Fact>,
}

impl Detail {
    /// Something about the whole.
    pub fn new(aspect: Aspect, a: Option<Fact>, b: Option<Fact>) -> Self {
        Self { aspect, of: None, a, b }
    }

    /// Says which one it is about.
    #[must_use]
    pub fn of(mut self, name: impl Into<String>) -> Self {
        self.of = Some(name.into());
        self
    }

    /// Two texts.
    pub fn texts(aspect: Aspect, a: impl ToString, b: impl ToString) -> Self {
        Self::new(aspect, Some(Fact::Text(a.to_string())), Some(Fact::Text(b.to_string())))
    }

    /// Two numbers.
    pub fn numbers(aspect: Aspect, a: u64, b: u64) -> Self {
        Self::new(aspect, Some(Fact::Number(a)), Some(Fact::Number(b)))
    }
}

/// A file, key, value, object, element or partition that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    #[serde(rename = "in")]
    pub area: Area,
    /// How.
    pub change: Change,
    /// The file; the partition, volume or record of a disk.
    pub path: String,
    /// In a hive the path of the key from the root; in a boot store the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// In a hive the name of the value, empty for the default one; in a boot store the element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What differs, or what was added or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// Why it could not be compared, or not as what it seems to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Difference {
    /// Without details yet.
    pub fn new(area: Area, change: Change, path: impl Into<String>) -> Self {
        Self { area, change, path: path.into(), key: None, value: None, details: Vec::new(), note: None }
    }

    /// Says in which key or object.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says which value or element.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds details.
    #[must_use]
    pub fn with(mut self, details: impl IntoIterator<Item = Detail>) -> Self {
        self.details.extend(details);
        self
    }

    /// Adds a word.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// How many there are of what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Paths of either side that were looked at.
    pub compared: u64,
    /// Facts about the disk or volume.
    pub disk: u64,
    /// Files and directories that the second side alone has.
    pub added: u64,
    /// Files and directories that the first side alone has.
    pub removed: u64,
    /// Files and directories that both have.
    pub changed: u64,
    /// Keys and values of hives.
    pub registry: u64,
    /// Objects and elements of boot stores.
    pub boot: u64,
    /// Hives that mean the same in other bytes.
    pub same_meaning: u64,
    /// What could not be compared.
    pub unknown: u64,
    /// What was not to be compared, or is nothing that both sides can have.
    pub not_compared: Vec<Aspect>,
    /// The first thing that made the comparison incomplete.
    #[serde(skip)]
    pub trouble: Trouble,
}

impl Summary {
    /// Whether nothing differs, as far as could be seen.
    pub fn is_equal(&self) -> bool {
        [self.disk, self.added, self.removed, self.changed, self.registry, self.boot].iter().all(|count| *count == 0)
    }

    pub(super) fn count(&mut self, difference: &Difference) {
        let counter = match (difference.change, difference.area) {
            (Change::Same, _) => &mut self.same_meaning,
            (Change::Unknown, _) => &mut self.unknown,
            (_, Area::Disk) => &mut self.disk,
            (_, Area::Registry) => &mut self.registry,
            (_, Area::Boot) => &mut self.boot,
            (Change::Added, Area::Files) => &mut self.added,
            (Change::Removed, Area::Files) => &mut self.removed,
            (Change::Changed, Area::Files) => &mut self.changed,
        };
        *counter += 1;
    }
}
