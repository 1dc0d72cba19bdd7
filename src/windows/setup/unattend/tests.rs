//! Answer files: what is refused, completed, merged.

use super::*;
use crate::error::Kind;
use crate::windows::tests::tree_of;

const MACHINE: Machine = Machine::Amd64;

fn component(name: &str, machine: &str, content: &str) -> String {
    format!(
        r#"<component name="{name}" processorArchitecture="{machine}" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">{content}</component>"#
    )
}

fn file(passes: &[(&str, String)]) -> String {
    let settings: String =
        passes.iter().map(|(pass, content)| format!(r#"<settings pass="{pass}">{content}</settings>"#)).collect();
    format!(r#"<?xml version="1.0" encoding="utf-8"?><unattend xmlns="{UNATTEND}">{settings}</unattend>"#)
}

fn parse(text: &str) -> Result<Unattend> {
    Unattend::parse(text.as_bytes())
}

/// The text of a setting of Shell-Setup, out of the bytes that were written.
fn setting(unattend: &Unattend, pass: &str, path: &[&str]) -> Option<String> {
    let root = xml::parse(&unattend.to_bytes()).unwrap();
    let settings = root.elements().find(|element| element.attribute("pass") == Some(pass))?.clone();
    let component = settings.elements().find(|element| is_shell_setup(element))?.clone();
    let found = path.iter().try_fold(&component, |at, name| at.elements().find(|child| child.is(name)));
    found.map(Element::text)
}

fn password(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

#[test]
fn answers_what_is_asked() {
    let mut unattend = Unattend::default();
    assert!(unattend.set_computer_name(&ComputerName::parse("web01").unwrap(), MACHINE).is_empty());
    assert!(unattend.set_time_zone("UTC", MACHINE).is_empty());
    assert!(!unattend.holds_secrets());
    assert!(unattend.set_admin_password(&password("Pass"), MACHINE).is_empty());
    assert!(unattend.holds_secrets());
    assert_eq!(setting(&unattend, "specialize", &["ComputerName"]).unwrap(), "web01");
    assert_eq!(setting(&unattend, "oobeSystem", &["TimeZone"]).unwrap(), "UTC");
    let hidden = ["UserAccounts", "AdministratorPassword"];
    assert_eq!(setting(&unattend, "oobeSystem", &[hidden[0], hidden[1], "PlainText"]).unwrap(), "false");
    // printf PassAdministratorPassword | iconv -t UTF-16LE | base64
    let value = "UABhAHMAcwBBAGQAbQBpAG4AaQBzAHQAcgBhAHQAbwByAFAAYQBzAHMAdwBvAHIAZAA=";
    assert_eq!(setting(&unattend, "oobeSystem", &[hidden[0], hidden[1], "Value"]).unwrap(), value);
    assert!(!format!("{unattend:?}").contains(value) && !unattend.public_text().contains(value));
    assert!(unattend.check(MACHINE, &tree_of(&[])).unwrap().is_empty());
}

#[test]
fn options_win_and_say_so() {
    let specialize = component(SHELL_SETUP, "amd64", "<ComputerName>old</ComputerName><CopyProfile>true</CopyProfile>");
    let accounts = "<UserAccounts><AdministratorPassword><Value>hush</Value><PlainText>true</PlainText>\
                    </AdministratorPassword></UserAccounts><TimeZone>UTC</TimeZone>";
    let text = file(&[("specialize", specialize), ("oobeSystem", component(SHELL_SETUP, "amd64", accounts))]);
    let mut unattend = parse(&text).unwrap();
    assert!(unattend.holds_secrets());
    let told = unattend.set_computer_name(&ComputerName::parse("new").unwrap(), MACHINE);
    assert_eq!(told, [r#"--computer-name "new" replaces the answer file's ComputerName "old" (specialize)"#]);
    assert!(unattend.set_time_zone("UTC", MACHINE).is_empty(), "it was so already");
    let told = unattend.set_admin_password(&password("other"), MACHINE);
    assert_eq!(told, ["the administrator's password replaces the answer file's AdministratorPassword (oobeSystem)"]);
    assert_eq!(setting(&unattend, "specialize", &["ComputerName"]).unwrap(), "new");
    assert_eq!(setting(&unattend, "specialize", &["CopyProfile"]).unwrap(), "true");
    assert!(!String::from_utf8(unattend.to_bytes()).unwrap().contains("hush"));
}

#[test]
fn keeps_what_it_does_not_know() {
    let text = concat!(
        r#"<?xml version="1.0"?><unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">"#,
        "<!-- kept --><settings pass=\"oobeSystem\" wasPassProcessed=\"true\">",
        r#"<component name="X" processorArchitecture="amd64"><A wcm:action="add" other="&lt;&quot;&#10;"><B>a &amp; b  c</B><C/></A></component>"#,
        r#"</settings><cpi:offlineImage cpi:source="wim:c:/x.wim" xmlns:cpi="urn:schemas-microsoft-com:cpi"/></unattend>"#
    );
    let unattend = parse(text).unwrap();
    let again = Unattend::parse(&unattend.to_bytes()).unwrap();
    assert_eq!(unattend.root.0, again.root.0);
    let written = String::from_utf8(unattend.to_bytes()).unwrap();
    for part in ["<!-- kept -->", "wcm:action=\"add\"", "a &amp; b  c", "cpi:offlineImage", "&#10;"] {
        assert!(written.contains(part), "{part} in {written}");
    }
    // UTF-16, as Windows' own tools may write it.
    let wide = [vec![0xFF, 0xFE], text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat();
    assert_eq!(Unattend::parse(&wide).unwrap().root.0, unattend.root.0);
}

#[test]
fn refuses_what_is_no_answer_file() {
    let nothing = || component(SHELL_SETUP, "amd64", "");
    for (text, complaint) in [
        ("<unattend/>".to_owned(), "root element"),
        (format!("<answers xmlns=\"{UNATTEND}\"/>"), "root element"),
        (file(&[("specialise", nothing())]), "pass of an answer file"),
        (file(&[("", nothing())]), "pass of an answer file"),
        (file(&[("specialize", nothing()), ("specialize", nothing())]), "two settings"),
        (file(&[("specialize", "<ComputerName>x</ComputerName>".into())]), "element of a pass"),
        (file(&[("specialize", "<component name=\"x\"/>".into())]), "without processorArchitecture"),
        (format!("<unattend xmlns=\"{UNATTEND}\"><setting/></unattend>"), "element of an answer file"),
        ("not xml".into(), "no XML"),
        (format!("<!DOCTYPE x [<!ENTITY a \"b\">]><unattend xmlns=\"{UNATTEND}\"/>"), "no XML"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
    let near = parse(&file(&[("specialise", nothing())])).unwrap_err();
    assert_eq!(near.hint_text(), Some("did you mean specialize?"));
}

#[test]
fn evil_files_are_refused_or_read_but_never_worse() {
    let text = file(&[("specialize", component(SHELL_SETUP, "amd64", "<ComputerName>old</ComputerName>"))]);
    for at in 0..text.len() {
        let _ = parse(&text[..at]);
        let mut flipped = text.clone().into_bytes();
        flipped[at] ^= 0x10;
        let _ = Unattend::parse(&flipped);
    }
    let deep = format!("<unattend xmlns=\"{UNATTEND}\">{}{}</unattend>", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(parse(&deep).unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(Unattend::parse(&vec![b' '; xml::MAX_FILE + 1]).unwrap_err().kind(), Kind::Unsupported);
    let secret = parse("<unattend><Password>hush").unwrap_err().to_string();
    assert!(!secret.contains("hush"), "{secret}");
}

#[test]
fn compares_with_the_image() {
    let manifest =
        r"\Windows\WinSxS\Manifests\amd64_acme-tools_31bf3856ad364e35_10.0.14393.0_none_0123456789abcdef.manifest";
    let shortened = r"\Windows\WinSxS\Manifests\amd64_acme-a-very-long-nam..onent-with-an-end_31bf3856ad364e35_10.0_none_0.manifest";
    let tree = tree_of(&[(manifest, b""), (shortened, b""), (r"\Windows\Panther\Unattend\Unattend.xml", b"")]);
    let check =
        |components: &[String], pass: &str| parse(&file(&[(pass, components.concat())])).unwrap().check(MACHINE, &tree);
    let of = |name: &str, machine: &str| component(name, machine, "");

    let before = check(&[of(SHELL_SETUP, "amd64"), of("ACME-Tools", "amd64")], "specialize").unwrap();
    assert_eq!(before.len(), 1);
    assert!(before[0].contains("Panther\\Unattend"), "{before:?}");
    let long = "ACME-A-very-long-name-of-a-component-with-an-end";
    assert_eq!(check(&[of(long, "amd64")], "specialize").unwrap().len(), 1);
    let unknown = check(&[of("Nobody-Knows", "amd64")], "specialize").unwrap();
    assert!(unknown[0].contains("Nobody-Knows is unknown"), "{unknown:?}");
    let idle = check(&[of(SHELL_SETUP, "amd64")], "windowsPE").unwrap();
    assert!(idle[0].contains("windowsPE has no effect"), "{idle:?}");

    let error = check(&[of(SHELL_SETUP, "x86")], "specialize").unwrap_err();
    assert_eq!(error.kind(), Kind::WrongMachine);
    assert!(check(&[of(SHELL_SETUP, "x86"), of(SHELL_SETUP, "amd64")], "specialize").is_ok(), "Windows takes its own");
}
