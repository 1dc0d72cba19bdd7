//! Tests of what INF files say.

use super::*;
use crate::base::Machine;

const NANO: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

fn parse(text: &str) -> Inf {
    Inf::parse(text.as_bytes()).unwrap()
}

#[test]
fn lines_are_parted() {
    let inf = parse(
        "; comment\r\n[A]\r\nkey = one, \"two, \"\"2\"\" ; no comment\" , ,four ; comment\r\nalone\r\n\
         long = a,\\ ; goes on\r\n  b\r\n[B]\n\"x = y\" = z\n[a]\nmore=1",
    );
    let a = inf.section("a").unwrap();
    assert_eq!(a.entries.len(), 4);
    assert_eq!(a.entries[0].key.as_deref(), Some("key"));
    assert_eq!(a.entries[0].fields, ["one", "two, \"2\" ; no comment", "", "four"]);
    assert_eq!((a.entries[1].key.as_deref(), a.entries[1].first()), (None, "alone"));
    assert_eq!((a.entries[2].line, a.entries[2].fields.as_slice()), (5, &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(a.get("MORE").unwrap().field(0), "1");
    assert_eq!(inf.section("B").unwrap().entries[0].key.as_deref(), Some("x = y"));
}

#[test]
fn tokens_are_replaced() {
    let inf = parse("[Strings]\nA=\"one\"\nb.c = two\n[x]\ny=%a%\n");
    assert_eq!(inf.expand("%A% and %B.C%, 100%%, %none%, %"), "one and two, 100%, %none%, %");
    assert_eq!(inf.missing_tokens("%a% %none% 5%"), ["none"]);
}

#[test]
fn the_best_decoration_is_chosen() {
    let inf = parse(
        "[Manufacturer]\n%m%=Models,NTamd64.6.1,NTamd64.10.0...14393,NTamd64.10.0...17763,NTx86\n\
         [Models]\n%d%=old,PCI\\A\n[Models.NTamd64.10.0...14393]\n%d%=new,PCI\\A,PCI\\B\n[Models.NTamd64.10.0...17763]\n%d%=newest,PCI\\A\n[Models.NTamd64.6.1]\n%d%=seven,PCI\\A\n",
    );
    let install = |target: TargetOs| inf.models(&target).iter().map(|model| model.install.clone()).collect::<Vec<_>>();
    assert_eq!(install(NANO), ["new"]);
    assert_eq!(inf.models(&NANO)[0].ids, [r"PCI\A", r"PCI\B"]);
    assert_eq!(install(TargetOs { build: 20348, ..NANO }), ["newest"]);
    assert_eq!(install(TargetOs { major: 6, minor: 3, build: 9600, ..NANO }), ["seven"]);
    assert_eq!(install(TargetOs { machine: Machine::Arm64, ..NANO }), Vec::<String>::new());
}

#[test]
fn quotes_and_continuations_follow_setupapi() {
    let inf = parse(
        "[a]\nx=\"c:\\\"\ny=\"open\\\nz=one\\\ntwo \\ ; said\n  three\nempty=\nspaced = \"  kept  \"  \nmixed = a \"b, c\" d\n\
         eq = a=b, \"c=d\"\n=nokey\n,second\nlast=end\\",
    );
    let a = inf.section("A").unwrap();
    let fields = |key: &str| a.get(key).unwrap().fields.join("|");
    assert_eq!(fields("x"), "c:\\");
    assert_eq!(fields("y"), "open\\");
    assert_eq!(fields("z"), "onetwo   three");
    assert_eq!(fields("empty"), "");
    assert_eq!(fields("spaced"), "  kept  ");
    assert_eq!(fields("mixed"), "a b, c d");
    assert_eq!(fields("eq"), "a=b|c=d");
    assert_eq!(fields(""), "nokey");
    assert_eq!(a.entries.iter().find(|entry| entry.key.is_none()).unwrap().fields, ["", "second"]);
    assert_eq!((fields("last").as_str(), a.get("last").unwrap().line), ("end", 13));
}

#[test]
fn encodings_are_told_apart() {
    let text = "[Version]\r\nName=\"Tür €\"\r\n";
    let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let with = |mark: &[u8], bytes: Vec<u8>| [mark.to_vec(), bytes].concat();
    let western: Vec<u8> = b"[Version]\r\nName=\"T\xFCr \x80\"\r\n".to_vec();
    for bytes in [
        text.as_bytes().to_vec(),
        with(&[0xEF, 0xBB, 0xBF], text.as_bytes().to_vec()),
        with(&[0xFF, 0xFE], wide(u16::to_le_bytes)),
        with(&[0xFE, 0xFF], wide(u16::to_be_bytes)),
        wide(u16::to_le_bytes),
        western,
        with(text.as_bytes(), b"\x1A[Version\nnot read".to_vec()),
    ] {
        let inf = Inf::parse(&bytes).unwrap();
        assert_eq!(inf.section("version").unwrap().get("name").unwrap().field(0), "Tür €");
    }
}

#[test]
fn strings_have_languages() {
    let inf = parse(
        "[Strings.0407]\na=deutsch\nd=nur\n[Strings]\na=plain, not this\nb=\"x, y\"\nb=again\n%c%=sea\n[Strings.0409]\na=english\ne=more\n",
    );
    let all: Vec<_> = inf.strings().collect();
    assert_eq!(all, [("a", "plain"), ("b", "x, y"), ("c", "sea"), ("e", "more")]);
    let german = parse("[Strings.0407]\na=deutsch\n[Strings.040C]\na=français\n");
    assert_eq!(german.string("A"), Some("deutsch"), "the first, where English is not there");
    let nested = parse("[Strings]\na=%b%\nb=x\n[y]\nz=%a%\n");
    assert_eq!(nested.expand("%a%"), "%b%", "texts of tokens are not replaced again");
    let further = |token: &str| (token == "12").then(|| "folder".to_owned());
    assert_eq!(nested.expand_with(r"%12%\%b%%%%13%", further), r"folder\x%%13%");
}

#[test]
fn decorations_are_parsed_and_ranked() {
    let all = Decoration::parse("NTamd64.10.0.3.0x80.17763").unwrap();
    assert_eq!((all.version, all.product, all.suites, all.build), (Some((10, 0)), Some(3), Some(0x80), Some(17763)));
    assert_eq!(Decoration::parse("nt"), Some(Decoration::default()));
    for text in ["", "amd64", "NTitanium", "NTamd64.x", "NTamd64.1.2.3.4.5.6", "NTamd64.99999999999"] {
        assert_eq!(Decoration::parse(text), None, "{text}");
    }
    let admits = |text: &str| Decoration::parse(text).unwrap().admits(&NANO);
    for text in
        ["NTamd64", "NTamd64.6.3", "NTamd64.10", "NTamd64.10.0...14393", "NTamd64.10.0.3", "NTamd64.6.1...99999"]
    {
        assert!(admits(text), "{text}");
    }
    for text in [
        "NT",
        "NT.10.0",
        "NTx86",
        "NTamd64.10.0.1",
        "NTamd64.10.0...14394",
        "NTamd64.10.1",
        "NTamd64.11",
        "NTamd64.10.0..0x40",
    ] {
        assert!(!admits(text), "{text}");
    }
}

#[test]
fn what_is_no_inf_file_is_refused() {
    for (text, word) in [
        ("", "no section"),
        ("; only\n", "no section"),
        ("text\n[a]\n", "line 1"),
        ("[a]\n[b\n", "line 2"),
        ("MZ\0\0", "program"),
    ] {
        let error = Inf::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{text:?}: {error}");
    }
    assert!(Inf::parse(&vec![b' '; MAX_FILE + 1]).is_err());
    let bomb = format!("[Strings]\na={}\n[x]\n{}", "y".repeat(1 << 16), "%a%\n".repeat(2000));
    assert!(Inf::parse(bomb.as_bytes()).unwrap_err().to_string().contains("line 1"));
}

#[test]
fn manufacturers_share_no_models() {
    let inf = parse("[Manufacturer]\n%a%=M,NTamd64\nb=M,NTamd64\nM2\n[M.NTamd64]\nx=i,PCI\\A\n[M2]\nx=j,PCI\\B\n");
    let models = inf.models(&NANO);
    assert_eq!((models.len(), models[0].manufacturer.as_str()), (1, "%a%"));
    assert_eq!(inf.targets(), ["NTamd64", ""]);
    let x86 = TargetOs { machine: Machine::X86, ..NANO };
    assert_eq!(inf.models(&x86).iter().map(|model| model.install.as_str()).collect::<Vec<_>>(), ["j"]);
    assert_eq!(inf.actual_section("x", &NANO), None);
}

/// Megabytes of each kind of line that could take long: open quotes, continuations, repeated sections.
#[test]
fn long_files_take_no_longer_than_they_are_long() {
    let start = std::time::Instant::now();
    for piece in ["\"", "%", "\\\n", "[a]\n", "=,", "a\\\n", "[\"", "%%a", "a=\"\"\"", ";\"\n", "\r"] {
        let text = format!("[a]\n{}", piece.repeat((4 << 20) / piece.len()));
        if let Ok(inf) = Inf::parse(text.as_bytes()) {
            let _ = inf.models(&NANO);
            inf.sections()
                .iter()
                .flat_map(|section| &section.entries)
                .for_each(|entry| drop(inf.expand(entry.first())));
        }
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = Inf::parse(&bytes);
    }

    #[test]
    fn any_text_of_this_alphabet_is_parsed_or_refused(text in r#"(\[(Version|Manufacturer|M\.NTamd64|Strings)\]\n|[a-z%",;=\\\n 0-9.]{0,12}){0,40}"#) {
        if let Ok(inf) = Inf::parse(text.as_bytes()) {
            let _ = inf.header(Machine::Amd64);
            let _ = (inf.models(&NANO), inf.targets());
            for entry in inf.sections().iter().flat_map(|section| &section.entries) {
                assert!(!entry.fields.is_empty() && entry.line > 0);
                entry.fields.iter().for_each(|field| drop(inf.expand(field)));
            }
        }
    }

    #[test]
    fn quoted_fields_come_back(fields in proptest::collection::vec("[ -~äß€]{0,20}", 1..6)) {
        let line = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect::<Vec<_>>().join(" , ");
        let inf = Inf::parse(format!("[a]\nkey = {line} ; end\n").as_bytes()).unwrap();
        proptest::prop_assert_eq!(&inf.section("a").unwrap().get("key").unwrap().fields, &fields);
    }
}
