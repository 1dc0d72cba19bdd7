//! Just enough of Rust's grammar to find paths, macros and modules without being fooled by comments and strings.

use std::iter;

/// A Rust file in tokens.
pub(super) struct Code {
    tokens: Vec<Token>,
    /// String literals, without their quotes and with escapes as written.
    pub(super) strings: Vec<(usize, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

/// A path that begins with `crate`, `self`, `super`, `std` or another word, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
    /// The modules written out in this file that it is in.
    pub(super) modules: Vec<String>,
    /// Whether one of them is for tests only.
    pub(super) in_tests: bool,
}

impl Code {
    pub(super) fn new(source: &str) -> Self {
        let mut lexer = Lexer { rest: source, line: 1, code: Self { tokens: Vec::new(), strings: Vec::new() } };
        while lexer.step() {}
        lexer.code
    }

    /// Every path of two or more segments, those of a use tree one by one, and every macro call as `name!`.
    pub(super) fn paths(&self) -> Vec<Path> {
        let mut walk = Walk { code: self, scopes: Vec::new(), paths: Vec::new() };
        let mut at = 0;
        while at < self.tokens.len() {
            at = walk.step(at);
        }
        walk.paths
    }

    /// The lines on which `word` stands as a word of the code.
    pub(super) fn lines_with(&self, word: &str) -> impl Iterator<Item = usize> {
        let tokens = self.tokens.iter().filter(move |token| matches!(&token.kind, Kind::Word(w) if w == word));
        tokens.map(|token| token.line)
    }

    fn word(&self, at: usize) -> Option<&str> {
        match &self.tokens.get(at)?.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, at: usize, kind: &Kind) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == *kind)
    }

    fn is_other(&self, at: usize, c: char) -> bool {
        self.is(at, &Kind::Other(c))
    }

    /// Whether the `mod` at `at` has `#[cfg(test)]` before it.
    fn is_for_tests(&self, at: usize) -> bool {
        let attribute = ['#', '[', '\0', '(', '\0', ')', ']'];
        let words = [None, None, Some("cfg"), None, Some("test"), None, None];
        let Some(start) = at.checked_sub(attribute.len()) else { return false };
        iter::zip(attribute, words).enumerate().all(|(i, (c, word))| match word {
            Some(word) => self.word(start + i) == Some(word),
            None => self.is_other(start + i, c),
        })
    }
}

struct Walk<'a> {
    code: &'a Code,
    /// For each open brace, the module that it opened and whether that is for tests.
    scopes: Vec<Option<(String, bool)>>,
    paths: Vec<Path>,
}

impl Walk<'_> {
    /// Looks at the token at `at` and returns where to go on.
    fn step(&mut self, at: usize) -> usize {
        let code = self.code;
        if let Some(word) = code.word(at) {
            if word == "mod" && code.is_other(at + 2, '{') {
                let name = code.word(at + 1).unwrap_or_default().to_string();
                self.scopes.push(Some((name, code.is_for_tests(at))));
                return at + 3;
            }
            if code.is(at + 1, &Kind::Colons) {
                return self.tree(at, &mut Vec::new());
            }
            if code.is_other(at + 1, '!') && !code.is_other(at + 2, '=') {
                self.emit(at, vec![format!("{word}!")]);
            }
        } else if code.is_other(at, '{') {
            self.scopes.push(None);
        } else if code.is_other(at, '}') {
            self.scopes.pop();
        }
        at + 1
    }

    /// Reads a use tree, or a path in an expression, which is one without branches.
    fn tree(&mut self, at: usize, prefix: &mut Vec<String>) -> usize {
        let code = self.code;
        if let Some(word) = code.word(at) {
            prefix.push(word.to_string());
            let end = match code.is(at + 1, &Kind::Colons) {
                true => self.tree(at + 2, prefix),
                false => {
                    self.emit(at, prefix.clone());
                    at + 1
                }
            };
            prefix.pop();
            return end;
        }
        if code.is_other(at, '{') {
            let mut at = at + 1;
            while at < code.tokens.len() && !code.is_other(at, '}') {
                at = if code.word(at).is_some() || code.is_other(at, '{') { self.tree(at, prefix) } else { at + 1 };
            }
            return at + 1;
        }
        self.emit(at, prefix.clone()); // a glob or a turbofish
        at
    }

    fn emit(&mut self, at: usize, segments: Vec<String>) {
        let modules = self.scopes.iter().flatten();
        self.paths.push(Path {
            line: self.code.tokens.get(at).map_or(0, |token| token.line),
            segments,
            modules: modules.clone().map(|(name, _)| name.clone()).collect(),
            in_tests: modules.clone().any(|(_, for_tests)| *for_tests),
        });
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    code: Code,
}

impl Lexer<'_> {
    /// Takes one token, comment, literal or blank; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return false };
        if rest.starts_with("//") {
            self.take(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.take(block_comment(rest));
        } else if let Some((prefix, hashes)) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = prefix + rest[prefix..].find(&end).unwrap_or(rest.len() - prefix);
            self.literal(prefix, body, end.len());
        } else if first == '"' || rest.starts_with("b\"") || rest.starts_with("c\"") {
            let prefix = if first == '"' { 1 } else { 2 };
            self.literal(prefix, prefix + quoted(&rest[prefix..], '"'), 1);
        } else if first == '\'' || rest.starts_with("b'") {
            self.quote(if first == '\'' { 1 } else { 2 });
        } else if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.push(Kind::Word(rest[..len].to_string()));
            self.take(len);
        } else if rest.starts_with("::") {
            self.push(Kind::Colons);
            self.take(2);
        } else {
            if !first.is_whitespace() {
                self.push(Kind::Other(first));
            }
            self.take(first.len_utf8());
        }
        true
    }

    fn push(&mut self, kind: Kind) {
        self.code.tokens.push(Token { line: self.line, kind });
    }

    fn take(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }

    fn literal(&mut self, from: usize, to: usize, end: usize) {
        self.code.strings.push((self.line, self.rest[from..to].to_string()));
        self.take(to + end);
    }

    /// A character or a lifetime, whose quote ends at `prefix`.
    fn quote(&mut self, prefix: usize) {
        let body = &self.rest[prefix..];
        let mut chars = body.chars();
        let is_character = chars.next() == Some('\\') || chars.next() == Some('\'');
        self.take(if is_character { prefix + quoted(body, '\'') + 1 } else { prefix });
    }
}

/// The length of what stands before the closing quote.
fn quoted(body: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = body.find(|c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.unwrap_or(body.len())
}

/// The length of a block comment, with those inside it.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth = depth.saturating_add_signed(step.0);
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The lengths of a raw string's prefix, quote included, and of its hashes.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let letters = ["r", "br", "cr"].into_iter().find(|letters| {
        rest.strip_prefix(letters).is_some_and(|behind| behind.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = rest[letters.len()..].find('"')?;
    Some((letters.len() + hashes + 1, hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        Code::new(source).paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn finds_paths_in_trees_and_expressions() {
        let source = "use crate::{base::{Name, io}, error::*};\nfn f() -> crate::tree::Tree<'static> { std::mem::take::<u8>(x) }";
        assert_eq!(
            paths(source),
            ["crate::base::Name", "crate::base::io", "crate::error", "crate::tree::Tree", "std::mem::take"]
        );
    }

    #[test]
    fn is_not_fooled_by_comments_strings_and_lifetimes() {
        let source = r###"
            // crate::a::b
            /* crate::a /* crate::b */ crate::c */
            const A: &'static str = "crate::d \" crate::e";
            const B: &str = r#"crate::f " crate::g"#;
            const C: [char; 3] = ['"', '\'', '\\'];
            const D: u8 = b'"';
            fn f<'a>(x: &'a str) { crate::h::i(x) }
        "###;
        assert_eq!(paths(source), ["crate::h::i"]);
        let code = Code::new(source);
        let strings: Vec<_> = code.strings.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(strings, [(4, r#"crate::d \" crate::e"#), (5, r#"crate::f " crate::g"#)]);
    }

    #[test]
    fn knows_the_module_and_the_line() {
        let source = "fn f() { g::h() }\n#[cfg(test)]\nmod tests {\n mod inner { use a::b; }\n use c::d;\n}\nuse e::f;";
        let found: Vec<_> =
            Code::new(source).paths().into_iter().map(|p| (p.line, p.modules.join("/"), p.in_tests)).collect();
        let expected = [(1, "", false), (4, "tests/inner", true), (5, "tests", true), (7, "", false)];
        assert_eq!(found, expected.map(|(line, modules, tests)| (line, modules.to_string(), tests)));
    }

    #[test]
    fn finds_macros_and_words() {
        assert_eq!(paths("fn f() { print!(\"x\") ; if a != b {} }"), ["print!"]);
        let code = Code::new("deny(unsafe_code)\n// unsafe\nunsafe { \"unsafe\" }");
        assert_eq!(code.lines_with("unsafe").collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn ends_on_anything() {
        for source in ["\"", "'", "r#\"", "/*", "b'", "'\\", "crate::", "crate::{", "mod x {", "}", "'é", "\"\\"] {
            Code::new(source).paths();
        }
    }
}
