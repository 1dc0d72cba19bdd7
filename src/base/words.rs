//! Words for people.

/// The first of several texts, and how many more there are.
pub fn some<T: AsRef<str>>(texts: &[T], named: usize) -> String {
    let first = texts.iter().take(named).map(AsRef::as_ref).collect::<Vec<_>>().join("; ");
    match texts.len().saturating_sub(named) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_counted() {
        assert_eq!(some(&["a", "b"], 2), "a; b");
        assert_eq!(some(&["a", "b", "c"], 1), "a; and 2 more");
        assert_eq!(some::<&str>(&[], 1), "");
    }
}
