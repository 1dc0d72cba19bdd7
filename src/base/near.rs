//! Names that look like one that is not there: for messages.

/// So many are worth showing.
const SHOWN: usize = 3;
/// Longer names are not compared: the cost grows with the square.
const LONGEST: usize = 64;

/// The names that are nearest to `wanted`, ignoring case: at most three, the nearest first, each once, none that differs in more than a third.
pub fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let folded: Vec<char> = wanted.to_lowercase().chars().collect();
    if folded.is_empty() || folded.len() > LONGEST {
        return Vec::new();
    }
    let mut near: Vec<(usize, String)> = Vec::new();
    for name in names {
        let other: Vec<char> = name.to_lowercase().chars().collect();
        let limit = folded.len().max(other.len()).div_ceil(3);
        if near.iter().any(|(_, known)| *known == name) {
            continue;
        }
        if other.len() > LONGEST || other.len().abs_diff(folded.len()) > limit {
            continue;
        }
        let distance = distance(&folded, &other);
        if distance <= limit {
            near.push((distance, name));
            near.sort();
            near.dedup();
            near.truncate(SHOWN);
        }
    }
    near.into_iter().map(|(_, name)| name).collect()
}

/// `did you mean a, b or c?`, if there is anything to offer.
pub fn did_you_mean(near: &[String]) -> Option<String> {
    let (last, others) = near.split_last()?;
    Some(match others {
        [] => format!("did you mean {last}?"),
        _ => format!("did you mean {} or {last}?", others.join(", ")),
    })
}

/// How many characters have to be put in, taken out or replaced (Levenshtein's distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        nearest(wanted, names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn offers_what_is_near() {
        assert_eq!(near("Sytem32", &["System32", "SysWOW64", "Temp"]), ["System32"]);
        assert_eq!(
            near("drivers", &["Drivers", "driver", "drives", "driverz", "etc"]),
            ["Drivers", "driver", "driverz"]
        );
        assert_eq!(near("on", &["one", "one"]), ["one"]);
        assert!(near("abc", &["xyz", "", "abcdefghij"]).is_empty());
        assert_eq!(near("abd", &["abc", "abc"]), ["abc"]);
        assert!(near("", &["a"]).is_empty());
        assert!(near(&"x".repeat(1000), &[&"x".repeat(999)]).is_empty());
    }

    #[test]
    fn speaks_plainly() {
        assert_eq!(did_you_mean(&[]), None);
        assert_eq!(did_you_mean(&["a".into()]).as_deref(), Some("did you mean a?"));
        assert_eq!(did_you_mean(&["a".into(), "b".into(), "c".into()]).as_deref(), Some("did you mean a, b or c?"));
    }
}
