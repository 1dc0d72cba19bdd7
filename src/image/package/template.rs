//! Texts with places to fill in: `{{name}}`.

/// Fills in the places of a template. What has no value stays as it is, which the tests of all templates would see.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let found = after.split_once("}}").and_then(|(key, behind)| {
            let value = values.iter().find(|(name, _)| *name == key)?;
            Some((value.1, behind))
        });
        match found {
            Some((value, behind)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push_str("{{");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The same for XML. Values are escaped, all that is not ASCII too: PowerShell 5 takes a file without a byte order mark for one in
/// the system's own code page. What no XML can hold is left out.
pub(super) fn fill_xml(template: &str, values: &[(&str, &str)]) -> String {
    let escaped: Vec<(&str, String)> = values.iter().map(|(name, value)| (*name, escape(value))).collect();
    let values: Vec<(&str, &str)> = escaped.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fill(template, &values)
}

fn escape(text: &str) -> String {
    let holdable = |c: &char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}');
    let plain: String = text.chars().filter(holdable).collect();
    let mut escaped = String::with_capacity(plain.len());
    for c in quick_xml::escape::escape(&plain).chars() {
        if c.is_ascii() { escaped.push(c) } else { escaped.push_str(&format!("&#x{:X};", u32::from(c))) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_has_a_value() {
        assert_eq!(fill("a {{x}} b {{y}}{{x}}", &[("x", "1"), ("y", "{{x}}")]), "a 1 b {{x}}1");
        assert_eq!(fill("{{z}} {{x", &[("x", "1")]), "{{z}} {{x");
        assert_eq!(fill("{{{{x}}", &[("x", "1")]), "{{1");
    }

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(
            fill_xml("<a b=\"{{x}}\"/>", &[("x", "\"><b>&'ü\u{1}\u{FFFF}")]),
            "<a b=\"&quot;&gt;&lt;b&gt;&amp;&apos;&#xFC;\"/>"
        );
    }
}
