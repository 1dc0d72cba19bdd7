//! The one error type: what is wrong, whose fault it is, and what to do next.

use std::fmt;
use std::io;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an [`Error`] is. The command line maps each kind to an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The host failed to read or write.
    Io,
    /// The host's disk (or quota) is full.
    HostFull,
    /// The input's bytes contradict themselves or their format.
    Corrupt,
    /// The input ends before what it promises.
    Truncated,
    /// The input is sound, but it is something that this program cannot do.
    Unsupported,
    /// The request itself makes no sense.
    Invalid,
    /// The source holds no image by that index or name, or several.
    NoSuchImage,
    /// The output cannot be put where it was asked for (it exists, is a directory, is not writable).
    BadOutput,
    /// The image is not an installation of Windows.
    NotWindows,
    /// The image lacks what the requested firmware needs to boot it.
    NotBootable,
    /// The image is for another processor or firmware than was asked for.
    WrongMachine,
    /// The volume or disk is too small for what has to go onto it.
    NoSpace,
    /// What was made is not what it should be, by the program's own check.
    BadResult,
    /// The user, or the system, asked the program to stop.
    Interrupted,
}

/// An error with everything that a user needs to act on it.
///
/// Built from a kind and a sentence, then refined: where in the input ([`at`](Error::at)), what was found and what would
/// have been right ([`found`](Error::found), [`allowed`](Error::allowed)), a next step ([`hint`](Error::hint)), and frames of
/// [`context`](Error::context) that are added on the way up (the file, the step).
///
/// ```
/// use nanovhd::error::{Error, Kind};
/// let e = Error::corrupt("WIM header: chunk size").at(0x14).found(5).allowed("a power of two").context("boot.wim");
/// assert_eq!(e.kind(), Kind::Corrupt);
/// assert_eq!(e.to_string(), "boot.wim: WIM header: chunk size: found 5, allowed: a power of two (at offset 0x14)");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: String,
    offset: Option<u64>,
    found: Option<String>,
    allowed: Option<String>,
    hint: Option<String>,
    frames: Vec<String>,
    source: Option<io::Error>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(what: impl fmt::Display) -> Self { Self::new(Kind::$kind, what) })*
    };
}

impl Error {
    /// An error of `kind`; `what` names the thing that is wrong, without a full stop.
    pub fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.to_string(),
            offset: None,
            found: None,
            allowed: None,
            hint: None,
            frames: Vec::new(),
            source: None,
        }))
    }

    constructors! {
        /// Bytes of the input that are wrong.
        corrupt => Corrupt;
        /// Input that ends too early.
        truncated => Truncated;
        /// Sound input that this program cannot handle.
        unsupported => Unsupported;
        /// A request that makes no sense.
        invalid => Invalid;
    }

    /// A failure of the host, told apart from a full disk.
    pub fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::HostFull,
            io::ErrorKind::UnexpectedEof => Kind::Truncated,
            _ => Kind::Io,
        };
        let too_large = source.kind() == io::ErrorKind::FileTooLarge;
        let mut error = Self::new(kind, what);
        error.0.source = Some(source);
        if too_large {
            error.hint("its file system cannot hold so large a file (FAT32: 4 GiB), or a limit is set")
        } else {
            error
        }
    }

    /// What does not fit, in bytes needed and bytes available.
    pub fn no_space(what: impl fmt::Display, needed: u64, available: u64) -> Self {
        Self::new(Kind::NoSpace, format_args!("{what}: {needed} bytes needed, {available} bytes available"))
    }

    /// Adds the byte offset in the innermost named thing.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Adds what was found.
    #[must_use]
    pub fn found(mut self, found: impl fmt::Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    /// Adds what would have been right.
    #[must_use]
    pub fn allowed(mut self, allowed: impl fmt::Display) -> Self {
        self.0.allowed = Some(allowed.to_string());
        self
    }

    /// Adds the next step for the user; the innermost hint wins.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.0.hint.get_or_insert_with(|| hint.to_string());
        self
    }

    /// Adds an outer frame: the file or the step in which it happened. The outermost one is not said twice.
    #[must_use]
    pub fn context(mut self, frame: impl fmt::Display) -> Self {
        let frame = frame.to_string();
        if self.0.frames.last() != Some(&frame) {
            self.0.frames.push(frame);
        }
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The next step for the user, if there is one to name.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        for frame in inner.frames.iter().rev() {
            write!(f, "{frame}: ")?;
        }
        f.write_str(&inner.what)?;
        match (&inner.found, &inner.allowed) {
            (Some(found), Some(allowed)) => write!(f, ": found {found}, allowed: {allowed}")?,
            (Some(found), None) => write!(f, ": found {found}")?,
            (None, Some(allowed)) => write!(f, ": allowed: {allowed}")?,
            (None, None) => {}
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(offset) = inner.offset {
            write!(f, " (at offset {offset:#x})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

/// Adds frames to the error of a result.
pub trait Context<T> {
    /// Adds an outer frame; the closure runs only when there is an error.
    fn context<D: fmt::Display>(self, frame: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<D: fmt::Display>(self, frame: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.context(frame()))
    }
}
