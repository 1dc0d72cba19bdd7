//! Which files are compared.

use glob::{MatchOptions, Pattern};

use crate::base::{Name, upcase};
use crate::error::{Error, Result};
use crate::image::lookup;
use crate::tree::Tree;

/// Paths to compare, and patterns of what to leave out.
///
/// Case is ignored, and `/` is the same as `\`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    only: Vec<String>,
    exclude: Vec<Exclude>,
}

#[derive(Debug, Clone)]
struct Exclude {
    pattern: Pattern,
    /// Matches the whole path; else the name alone, in any directory.
    anchored: bool,
}

/// What to do about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Compare it.
    Take,
    /// It is on the way to what is to be compared.
    Pass,
    /// Leave it out, with everything below it.
    Skip,
}

impl Filter {
    /// `only`: nothing but these files, and what is below them. `exclude`: none that matches such a pattern, nor what is below
    /// it: one without separators is of names in any directory, any other of paths from the root, in which `*` stays within a
    /// name and `**` does not.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for what is no pattern.
    pub fn new(only: &[String], exclude: &[String]) -> Result<Self> {
        let exclude = exclude.iter().map(|text| {
            let folded = fold(text);
            let invalid =
                |e| Error::invalid("pattern of files to leave out").found(format_args!("'{text}'")).allowed(e);
            let pattern = Pattern::new(folded.trim_start_matches('/')).map_err(invalid)?;
            Ok(Exclude { pattern, anchored: folded.contains('/') })
        });
        Ok(Self { only: only.to_vec(), exclude: exclude.collect::<Result<_>>()? })
    }

    /// The filter for these two trees, in which all paths are those that a walk will show: without short names and wildcards.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a path of a file that neither has.
    pub(super) fn within(&self, trees: [&Tree; 2]) -> Result<Within> {
        let mut only = Vec::new();
        for path in &self.only {
            let [a, b] = trees.map(|tree| lookup::find_all(tree, path));
            if let (Err(error), Err(_)) = (&a, &b) {
                let absent = Error::invalid("neither of the two has such a file").found(path);
                return Err(match error.hint_text() {
                    Some(hint) => absent.hint(hint),
                    None => absent,
                });
            }
            let found = [a, b].into_iter().flatten().flatten();
            only.extend(found.map(|found| canonical(&found.path)));
        }
        Ok(Within { only, exclude: self.exclude.clone() })
    }
}

/// A [`Filter`] for two trees.
#[derive(Debug)]
pub(super) struct Within {
    /// Empty for all.
    only: Vec<String>,
    exclude: Vec<Exclude>,
}

impl Within {
    /// What to do about the file at `path`, which begins with `\`.
    pub(super) fn verdict(&self, path: &str) -> Verdict {
        if self.only.is_empty() && self.exclude.is_empty() {
            return Verdict::Take;
        }
        let path = canonical(path);
        if self.exclude.iter().any(|exclude| exclude.matches(&path)) {
            return Verdict::Skip;
        }
        if self.only.is_empty() || self.only.iter().any(|only| below(&path, only)) {
            return Verdict::Take;
        }
        if self.only.iter().any(|only| below(only, &path)) { Verdict::Pass } else { Verdict::Skip }
    }
}

impl Exclude {
    fn matches(&self, path: &str) -> bool {
        const OPTIONS: MatchOptions =
            MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
        let name = if self.anchored { path } else { path.rsplit('/').next().unwrap_or(path) };
        !path.is_empty() && self.pattern.matches_with(name, OPTIONS)
    }
}

/// Whether `path` is `top` or below it; both without a separator at either end.
fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| top.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn canonical(path: &str) -> String {
    let folded = fold(path);
    folded.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// In capitals, as NTFS has them, with `/` between names.
fn fold(text: &str) -> String {
    let units: Vec<u16> = text.replace('\\', "/").encode_utf16().map(upcase::upcase).collect();
    Name::new(units).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Pass, Skip, Take};

    fn filter(only: &[&str], exclude: &[&str]) -> Within {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let Filter { only, exclude } = Filter::new(&owned(only), &owned(exclude)).unwrap();
        Within { only: only.iter().map(|path| canonical(path)).collect(), exclude }
    }

    #[test]
    fn takes_what_is_named_and_what_leads_there() {
        let filter = filter(&[r"\windows\System32", "users/"], &[]);
        for (path, verdict) in [
            ("\\", Pass),
            (r"\Windows", Pass),
            (r"\WINDOWS\system32", Take),
            (r"\Windows\System32\drivers\a.sys", Take),
            (r"\Windows\System32x", Skip),
            (r"\Users", Take),
            (r"\ProgramData", Skip),
        ] {
            assert_eq!(filter.verdict(path), verdict, "{path}");
        }
        assert_eq!(self::filter(&["\\"], &[]).verdict(r"\a\b"), Take);
    }

    #[test]
    fn leaves_out_names_and_paths() {
        let filter = filter(&[], &["*.log", r"\Windows\Temp\*", r"Users\**\ntuser.dat", "ÄÖ?"]);
        for (path, verdict) in [
            ("\\", Take),
            (r"\a\B.LOG", Skip),
            (r"\Windows\Temp", Take),
            (r"\Windows\Temp\x", Skip),
            (r"\Users\me\NTUSER.DAT", Skip),
            (r"\Users\me\deep\er\ntuser.dat", Skip),
            (r"\other\ntuser.dat", Take),
            (r"\x\äöü", Skip),
        ] {
            assert_eq!(filter.verdict(path), verdict, "{path}");
        }
        assert!(Filter::new(&[], &["[a".into()]).is_err());
    }
}
