//! Catalogs and the trust in driver packages: real ones and made ones, against openssl and osslsigncode.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nanovhd::base::{FileTime, Machine};
use nanovhd::error::Kind;
use nanovhd::format::catalog::{Catalog, FileDigest, Hash, Top, hex};
use nanovhd::format::inf::{ProductType, TargetOs};
use nanovhd::tree::{Content, Link, Node, Times, Tree, attributes};
use nanovhd::windows::drivers::trust::{self, SignatureKind, Trust, score};
use nanovhd::windows::drivers::{Driver, Package, Signature};

use crate::support::catalog::{CODE_SIGNING, Identity, Order, Purpose, TIME_STAMPING, WHQL, program};
use crate::support::tools::{Tools, testdata, text};

const SERVER_2016: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

/// A package of files, the first of which is its INF file.
fn package(files: &[(&str, &[u8])]) -> Package {
    let times = Times::all(FileTime(0));
    let mut tree = Tree::new(Node::directory(0, times));
    for (name, bytes) in files {
        let file = Node::file(attributes::ARCHIVE, times, Content::from(bytes.to_vec()));
        let node = tree.add_node(file).unwrap();
        tree.add_link(tree.root(), Link { name: (*name).into(), short: None, node }).unwrap();
    }
    let root = tree.root();
    Package::new(Arc::new(tree), root, files[0].0, "folder").unwrap()
}

/// What the INF file of such a package comes to, as far as signatures are concerned.
fn driver(files: &[(&str, &[u8])], catalog: Option<&str>, machine: Machine) -> Driver {
    Driver {
        inf_name: files[0].0.into(),
        package_name: String::new(),
        class: "Net".into(),
        class_guid: Default::default(),
        provider: String::new(),
        catalog: catalog.map(Into::into),
        machine,
        date: FileTime(0),
        version: nanovhd::base::Version::default(),
        lockdown: None,
        extension: None,
        configurations: Vec::new(),
        devices: Vec::new(),
        strings: Vec::new(),
        service_strings: Vec::new(),
        files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
        copies: Vec::new(),
        services: Vec::new(),
        registry: Vec::new(),
        notes: Vec::new(),
    }
}

fn check(files: &[(&str, &[u8])], catalog: Option<&str>) -> Trust {
    trust::check(&package(files), &driver(files, catalog, Machine::Amd64)).unwrap()
}

/// Whoever vouches for himself, and is the authority of the others.
fn authority() -> Identity {
    Identity::own("Test Authority", Purpose { is_authority: true, usages: &[], ..Purpose::default() })
}

fn publisher() -> Identity {
    authority().vouch_for("Test Publisher", Purpose::default())
}

const INF: &[u8] = b"[Version]\r\nSignature=\"$Windows NT$\"\r\n";

// Real packages

/// The packages of virtio-win: the names of their files, and how many their catalogs have.
const REAL: [(&str, &[&str]); 3] = [
    ("NetKVM", &["netkvm.inf", "netkvm.cat", "netkvm.sys"]),
    ("viostor", &["viostor.inf", "viostor.cat", "viostor.sys"]),
    ("vioscsi", &["vioscsi.inf", "vioscsi.cat", "vioscsi.sys"]),
];

fn real(name: &str, file: &str) -> Option<PathBuf> {
    testdata(format!("drivers/virtio-win-0.1.240/{name}/2k16/amd64/{file}"))
}

/// The files of a real package.
fn real_files(name: &str, files: &[&'static str]) -> Option<Vec<(&'static str, Vec<u8>)>> {
    files.iter().map(|file| Some((*file, fs::read(real(name, file)?).unwrap()))).collect()
}

fn borrowed<'f>(files: &'f [(&'static str, Vec<u8>)]) -> Vec<(&'f str, &'f [u8])> {
    files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect()
}

#[test]
fn real_packages_are_what_microsoft_signed() {
    for (name, files) in REAL {
        let Some(files) = real_files(name, files) else { return };
        let trust = check(&borrowed(&files), Some(files[1].0));
        println!("{name}: {} by {:?}, {:?}, at {:?}", trust.kind, trust.signer, trust.vouched_by, trust.signed_at);
        assert_eq!(trust.issues, [""; 0], "{name}");
        assert_eq!(trust.matched, files.len() - 1, "all but the catalog");
        assert_eq!(trust.kind, SignatureKind::Attested);
        let publisher = "Microsoft Windows Hardware Compatibility Publisher".to_owned();
        assert_eq!(trust.signature, Signature { signer: Some(publisher), score: score::WHQL });
        assert_eq!(
            trust.vouched_by,
            ["Microsoft Windows Third Party Component CA 2014", "Microsoft Root Certificate Authority 2010"]
        );
        assert!(trust.signed_at.unwrap().to_string().starts_with("2023-07-22T11:"));
        assert_eq!(trust.remarks, [""; 0]);
        assert!(!trust.needs_test_signing());
        trust.verdict().unwrap();
        // They were signed for clients alone, and are used on servers all the same.
        let warnings = trust.warnings(&SERVER_2016);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("the image is a server, and the catalog names none"), "{warnings:?}");
        let client = TargetOs { product: ProductType::Workstation, ..SERVER_2016 };
        assert_eq!(trust.warnings(&client), [""; 0]);
    }
}

/// A file beside the package that its INF file does not name, and that nobody has signed.
#[test]
fn a_stray_file_is_no_part_of_the_package() {
    let Some(mut files) = real_files("NetKVM", &["netkvm.inf", "netkvm.cat", "netkvm.sys", "netkvmco.dll"]) else {
        return;
    };
    let trust = check(&borrowed(&files), Some("netkvm.cat"));
    assert_eq!((trust.issues.len(), trust.matched), (1, 2));
    assert!(trust.issues[0].starts_with("netkvmco.dll is not in the catalog"), "{:?}", trust.issues);
    files.pop();
    check(&borrowed(&files), Some("netkvm.cat")).verdict().unwrap();
}

/// The catalog of a package of Windows, which is Microsoft's own.
#[test]
fn a_real_catalog_of_windows() {
    let Some(tools) = Tools::find(&["7z"]) else { return };
    let Some(cab) = testdata("packages/OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab") else { return };
    let folder = tempfile::tempdir().unwrap();
    tools.run_in(folder.path(), "7z", &["e", "-y", text(&cab), "update.cat", "update.mum"]);
    let [catalog, document] = ["update.cat", "update.mum"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let catalog = Catalog::read(&catalog).unwrap();
    let verified = catalog.verify().unwrap();
    println!("{:?}, {}, {:?}, {:?}", verified.chain, verified.top_in_words(), verified.stamp, verified.remarks);
    assert!(matches!(verified.top, Top::Root(root) if root.name == "Microsoft Root Certificate Authority 2010"));
    assert_eq!(SignatureKind::of(&verified), SignatureKind::Windows);
    assert_eq!(verified.issues, [""; 0]);
    assert!(catalog.members_of(&FileDigest::of(&document)).any(|member| member.hash == Hash::Sha256));
    assert_eq!(catalog.members_of(&FileDigest::of(&document[1..])).count(), 0);
}

/// osslsigncode computes the digest of a program and finds it in the catalog; openssl says who has signed, and that the
/// one vouches for the other.
#[test]
fn real_catalogs_are_what_other_programs_say() {
    let Some(tools) = Tools::find(&["openssl", "osslsigncode"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, files) in REAL {
        let (Some(catalog), Some(program)) = (real(name, files[1]), real(name, files[2])) else { return };
        let bytes = fs::read(&catalog).unwrap();
        let digest = FileDigest::of(&fs::read(&program).unwrap());
        let said = osslsigncode(&["verify", "-catalog", text(&catalog), "-in", text(&program)]);
        let own = hex(&digest.sha256);
        assert!(said.contains(&format!("Current message digest    : {own}")), "{said}");
        assert!(said.contains(&format!("Calculated message digest : {own}")), "{said}");
        let catalog = Catalog::read(&bytes).unwrap();
        let verified = catalog.verify().unwrap();
        let hashes: Vec<Hash> = catalog.members_of(&digest).map(|member| member.hash).collect();
        assert!(hashes.len() == 2 && hashes.contains(&Hash::Sha1) && hashes.contains(&Hash::Sha256), "{hashes:?}");
        let stamp = verified.stamp.clone().unwrap();
        assert_eq!(stamp.by, "Microsoft Time-Stamp Service");
        let clock = &stamp.time.to_string()[11..19];
        assert!(said.contains(&format!("Timestamp time: Jul 22 {clock} 2023 GMT")), "{said}");

        let listed = tools
            .run("openssl", &["pkcs7", "-inform", "DER", "-in", text(&real(name, files[1]).unwrap()), "-print_certs"]);
        assert_eq!(listed.matches("BEGIN CERTIFICATE").count(), catalog.certificates().len());
        let pems: Vec<String> = listed
            .split_inclusive("-----END CERTIFICATE-----\n")
            .filter_map(|part| part.find("-----BEGIN").map(|start| part[start..].to_owned()))
            .collect();
        let paths: Vec<PathBuf> = (0..pems.len()).map(|index| folder.path().join(format!("{index}.pem"))).collect();
        pems.iter().zip(&paths).for_each(|(pem, path)| fs::write(path, pem).unwrap());
        let thumbprint = |path: &Path| {
            let line = tools.run("openssl", &["x509", "-in", text(path), "-noout", "-fingerprint", "-sha1"]);
            line.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase()
        };
        let own: Vec<String> = verified.chain.iter().map(|certificate| certificate.thumbprint()).collect();
        assert_eq!(own, [thumbprint(&paths[0]), thumbprint(&paths[1])]);
        let [signer, authority] = [&paths[0], &paths[1]].map(|path| text(path));
        tools.run(
            "openssl",
            &["verify", "-partial_chain", "-no_check_time", "-purpose", "any", "-trusted", authority, signer],
        );
    }
}

/// What osslsigncode says; its exit code is about roots that this machine does not have.
fn osslsigncode(args: &[&str]) -> String {
    let output = std::process::Command::new("osslsigncode").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The digest that the signer has signed, as openssl takes the catalog apart, is that of the list; and his signature over
/// it holds for openssl too.
#[test]
fn openssl_takes_the_same_signature() {
    let Some(tools) = Tools::find(&["openssl"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = Order { files: &[("x.inf", INF)], authorities: &[&authority()], ..Order::default() }.sign(&publisher());
    let made_path = folder.path().join("made.cat");
    fs::write(&made_path, made).unwrap();
    let mut catalogs = vec![made_path];
    catalogs.extend(REAL.iter().filter_map(|(name, files)| real(name, files[1])));
    for path in catalogs {
        let bytes = fs::read(&path).unwrap();
        let lines = tools.run("openssl", &["asn1parse", "-inform", "DER", "-in", text(&path)]);
        let lines: Vec<&str> = lines.lines().collect();
        // Offset, header, length of an element of a depth that begins so, from a line on.
        let element = |from: usize, depth: &str, what: &str| {
            let at = (from..lines.len())
                .find(|&at| lines[at].contains(&format!("d={depth} ")) && lines[at].contains(what))
                .unwrap();
            let number = |key: &str, line: &str| {
                line.split(key).nth(1).unwrap().split_whitespace().next().unwrap().parse::<usize>().unwrap()
            };
            let offset: usize = lines[at].split(':').next().unwrap().trim().parse().unwrap();
            (at, offset, number("hl=", lines[at]), number("l=", &lines[at].replace("hl=", "h ")))
        };
        let (signers, ..) = element(0, "3", "SET");
        let signers = if lines[signers + 1].contains("d=4") && lines[signers + 2].contains("OBJECT") {
            element(signers + 1, "3", "SET").0
        } else {
            signers
        };
        let (attributes_at, offset, header, len) = element(signers, "5", "cont [ 0 ]");
        let mut signed = bytes[offset..offset + header + len].to_vec();
        signed[0] = 0x31;
        let (_, offset, header, len) = element(attributes_at, "5", "OCTET STRING");
        let signature = &bytes[offset + header..offset + header + len];
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let verified = Catalog::read(&bytes).unwrap().verify().unwrap();
        let all = tools.run("openssl", &["pkcs7", "-inform", "DER", "-in", text(&path), "-print_certs"]);
        let pem = all
            .split("subject=")
            .find(|part| part.contains(&format!("CN = {}\n", verified.signer().unwrap().subject())))
            .unwrap();
        let certificate = put("signer.pem", &pem.as_bytes()[pem.find("-----BEGIN").unwrap()..]);
        let key =
            put("key.pem", tools.run("openssl", &["x509", "-in", text(&certificate), "-noout", "-pubkey"]).as_bytes());
        let (signed, signature) = (put("signed", &signed), put("signature", signature));
        let said = tools
            .run("openssl", &["dgst", "-sha256", "-verify", text(&key), "-signature", text(&signature), text(&signed)]);
        assert_eq!(said.trim(), "Verified OK", "{}", path.display());
        let (_, offset, header, len) = element(0, "5", "SEQUENCE");
        let digest = hex(&Hash::Sha256.of(&bytes[offset + header..offset + header + len]));
        assert!(lines[attributes_at..].iter().any(|line| line.ends_with(&format!("[HEX DUMP]:{digest}"))), "{digest}");
    }
}

// Damage

/// Flips bits of a catalog. Wherever it is still taken as Microsoft's, it lists the same, by the same signer.
#[test]
fn flipped_bits_of_real_catalogs() {
    const EVERY: usize = 23;
    for (name, files) in REAL {
        let Some(path) = real(name, files[1]) else { return };
        let sound = fs::read(path).unwrap();
        let original = Catalog::read(&sound).unwrap();
        let (mut refused, mut harmless) = (0, 0);
        for at in (0..sound.len()).step_by(EVERY) {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at / EVERY % 8);
            let verdict = Catalog::read(&damaged).and_then(|catalog| Ok((catalog.verify()?, catalog.list().clone())));
            match verdict {
                Err(error) => {
                    assert!(
                        [Kind::Corrupt, Kind::Truncated, Kind::Unsupported].contains(&error.kind()),
                        "byte {at}: {error:?}"
                    );
                    refused += 1;
                }
                Ok((verified, _)) if !matches!(verified.top, Top::Root(_)) => refused += 1,
                Ok((verified, list)) => {
                    assert_eq!(list.members, original.list().members, "byte {at}");
                    assert_eq!(
                        (&list.attributes, list.time),
                        (&original.list().attributes, original.list().time),
                        "byte {at}"
                    );
                    assert_eq!(
                        verified.signer().unwrap().subject(),
                        "Microsoft Windows Hardware Compatibility Publisher"
                    );
                    harmless += 1;
                }
            }
        }
        println!("{name}: {refused} refused, {harmless} without effect on what is signed (its time stamp, versions)");
        assert!(refused > sound.len() / EVERY / 3, "{name}: only {refused} of {} refused", sound.len() / EVERY);
    }
}

#[test]
fn truncated_catalogs() {
    let mut catalogs = vec![Order { files: &[("x.inf", INF)], ..Order::default() }.sign(&publisher())];
    catalogs.extend(real("viostor", "viostor.cat").map(|path| fs::read(path).unwrap()));
    for catalog in catalogs {
        for len in (0..catalog.len()).step_by(3) {
            let error = Catalog::read(&catalog[..len]).unwrap_err();
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated), "{len}: {error}");
        }
        let longer = [catalog.as_slice(), &[0]].concat();
        assert!(Catalog::read(&longer).unwrap_err().to_string().contains("1 bytes more"));
    }
}

#[test]
fn flipped_bits_of_real_programs() {
    for (name, files) in REAL {
        let Some(files) = real_files(name, files) else { return };
        let catalog = Catalog::read(&files[1].1).unwrap();
        for (file, sound) in [&files[0], &files[2]] {
            let step = sound.len() / 60 + 1;
            let mut missed = Vec::new();
            for at in (0..sound.len()).step_by(step) {
                let mut damaged = sound.clone();
                damaged[at] ^= 0x10;
                if catalog.members_of(&FileDigest::of(&damaged)).next().is_some() {
                    missed.push(at);
                }
            }
            // The signature inside a program is at its end, and is no part of its digest.
            let signature = if file.ends_with(".sys") { 16 << 10 } else { 0 };
            assert!(missed.iter().all(|&at| at + signature > sound.len()), "{file}: {missed:?}");
        }
    }
}

// Made packages

#[test]
fn a_self_made_signature_needs_test_signing() {
    let own = Identity::own("Test Maker", Purpose { usages: &[CODE_SIGNING, WHQL], ..Purpose::default() });
    let driver_file = program(3, 2001);
    let mut files = vec![("net.inf", INF), ("net.sys", driver_file.as_slice())];
    let catalog = Order { files: &files, ..Order::default() }.sign(&own);
    files.push(("net.cat", &catalog));
    let trust = check(&files, Some("NET.CAT"));
    assert_eq!((trust.kind, trust.matched), (SignatureKind::SelfMade, 2));
    assert_eq!(
        trust.signature,
        Signature { signer: None, score: score::UNSIGNED },
        "a name that anybody can take is not believed"
    );
    assert_eq!((trust.issues.len(), trust.bare.len(), trust.signer.as_deref()), (0, 0, Some("Test Maker")));
    assert!(trust.needs_test_signing());
    let error = trust.verdict().unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(error.to_string(), r"folder\net.inf: Test Maker has signed it, and nobody vouches for Test Maker");
    assert!(error.hint_text().unwrap().contains("--allow-unsigned --test-signing"), "{error:?}");

    let on_32_bits = trust::check(&package(&files), &driver(&files, Some("net.cat"), Machine::X86)).unwrap();
    on_32_bits.verdict().unwrap();
    assert!(!on_32_bits.needs_test_signing());
    let warnings = on_32_bits.warnings(&TargetOs { machine: Machine::X86, ..SERVER_2016 });
    assert!(warnings.iter().any(|warning| warning.contains("nobody vouches")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("other processors than x86")), "{warnings:?}");
}

/// A name is no proof: this authority calls itself what Microsoft's is called.
#[test]
fn a_false_microsoft_is_not_believed() {
    let authority = Purpose { is_authority: true, usages: &[], ..Purpose::default() };
    let purpose = Purpose { usages: &[CODE_SIGNING, WHQL], ..Purpose::default() };
    let false_root = Identity::own("Microsoft Root Certificate Authority 2010", authority);
    let false_publisher = false_root.vouch_for("Microsoft Windows Hardware Compatibility Publisher", purpose);
    let kind = |authorities: &[&Identity]| {
        let mut files = vec![("net.inf", INF)];
        let catalog = Order { files: &files, authorities, ..Order::default() }.sign(&false_publisher);
        files.push(("net.cat", &catalog));
        let trust = check(&files, Some("net.cat"));
        assert!(trust.needs_test_signing() && trust.signature.signer.is_none());
        (trust.kind, trust.verdict().unwrap_err().to_string())
    };
    let (with_root, error) = kind(&[&false_root]);
    assert_eq!(with_root, SignatureKind::SelfMade);
    assert!(error.contains("nobody vouches"), "{error}");
    let (without_root, error) = kind(&[]);
    assert_eq!(without_root, SignatureKind::Publisher);
    assert!(
        error.contains("Microsoft Root Certificate Authority 2010, whose own certificate is not in the catalog"),
        "{error}"
    );
}

#[test]
fn what_is_not_what_was_signed_is_named() {
    let driver_file = program(5, 1024);
    let signed: Vec<(&str, &[u8])> = vec![("net.inf", INF), ("net.sys", &driver_file), ("co.dll", b"no program")];
    let catalog = Order { files: &signed, ..Order::default() }.sign(&publisher());
    let issues = |files: &[(&str, &[u8])], catalog_name: Option<&str>| {
        let trust = check(files, catalog_name);
        assert!(!trust.is_enough() && trust.signature.score == score::UNSIGNED);
        (trust.verdict().unwrap_err().kind(), trust.issues.join("\n"), trust.bare)
    };
    let with = |at: usize, name: &'static str, bytes: &'static [u8]| {
        let mut files = signed.clone();
        files[at] = (name, bytes);
        files.push(("net.cat", &catalog));
        files
    };
    let (kind, said, bare) = issues(&with(1, "net.sys", b"MZ, and another"), Some("net.cat"));
    assert_eq!(kind, Kind::Corrupt);
    let found = hex(&FileDigest::of(b"MZ, and another").sha256);
    let expected = hex(&FileDigest::of(&driver_file).sha256);
    assert_eq!(
        said,
        format!("net.sys is not the file that was signed: its digest is {found}, that in the catalog {expected}")
    );
    assert_eq!(bare, [""; 0], "it is no program");
    let (_, said, _) = issues(&with(2, "extra.dll", b"MZ, more"), Some("net.cat"));
    assert!(said.starts_with("extra.dll is not in the catalog: its SHA-256 is "), "{said}");
    let (kind, said, bare) = issues(&with(0, "net.inf", INF)[..3], Some("net.cat"));
    assert_eq!((kind, said.as_str()), (Kind::Unsupported, "net.cat, the catalog that net.inf names, is not there"));
    assert_eq!(bare, ["net.sys"]);
    let (_, said, _) = issues(&with(0, "net.inf", INF), None);
    assert_eq!(said, "net.inf names no catalog (CatalogFile)");
    let (_, said, _) = issues(&[("net.inf", INF), ("net.cat", b"no catalog")], Some("net.cat"));
    assert!(said.starts_with("net.cat: "), "{said}");

    let files = with(0, "net.inf", INF);
    let mut driver = driver(&files, Some("net.cat"), Machine::Amd64);
    driver.files.push(r"sub\gone.sys".into());
    let trust = trust::check(&package(&files), &driver).unwrap();
    assert_eq!(trust.issues, [r"sub\gone.sys is not there"]);
}

/// Without any signature 64-bit Windows loads nothing, test signing or not; that is said where it is asked for.
#[test]
fn programs_without_any_signature_are_named() {
    let driver_file = program(9, 1024);
    let trust = check(&[("net.inf", INF), ("net.sys", &driver_file)], None);
    assert_eq!((trust.kind, trust.bare.as_slice()), (SignatureKind::None, &["net.sys".to_owned()][..]));
    let error = trust.verdict().unwrap_err();
    assert!(error.hint_text().unwrap().contains("what has no signature at all: net.sys"), "{error:?}");
    assert!(trust.warnings(&SERVER_2016).iter().any(|warning| warning.ends_with("no signature at all: net.sys")));
}

#[test]
fn both_versions_of_lists_and_both_paddings() {
    let files = [("net.inf", INF), ("net.sys", &program(7, 1500)[..])];
    for (is_old, pss) in [(false, false), (true, false), (false, true)] {
        let bytes =
            Order { files: &files, is_old, pss, authorities: &[&authority()], ..Order::default() }.sign(&publisher());
        let catalog = Catalog::read(&bytes).unwrap();
        let verified = catalog.verify().unwrap();
        assert_eq!(verified.top, Top::Own);
        assert_eq!(
            verified.chain.iter().map(|one| one.subject()).collect::<Vec<_>>(),
            ["Test Publisher", "Test Authority"]
        );
        assert_eq!(catalog.list().attribute("hwid1"), Some(r"pci\ven_1af4&dev_1000"));
        assert_eq!(catalog.list().time.to_string(), "2023-07-22T11:39:00.0000000Z");
        for (name, bytes) in files {
            let members: Vec<_> = catalog.members_of(&FileDigest::of(bytes)).collect();
            assert_eq!(members.len(), if is_old { 1 } else { 2 }, "{name}");
            assert!(
                members
                    .iter()
                    .all(|member| member.file() == Some(name) && member.attribute("OSAttr") == Some("2:10.0"))
            );
        }
    }
}

/// osslsigncode takes what is made here, with the made authority as root: so the maker makes catalogs as others do.
#[test]
fn osslsigncode_takes_made_catalogs() {
    if Tools::find(&["osslsigncode"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let driver_file = program(11, 2048);
    let bytes = Order { files: &[("net.sys", &driver_file)], authorities: &[&authority()], ..Order::default() }
        .sign(&publisher());
    fs::write(path("net.cat"), &bytes).unwrap();
    fs::write(path("net.sys"), &driver_file).unwrap();
    fs::write(path("root.pem"), authority().pem()).unwrap();
    let (catalog, program, root) = (path("net.cat"), path("net.sys"), path("root.pem"));
    let verify =
        || osslsigncode(&["verify", "-CAfile", text(&root), "-catalog", text(&catalog), "-in", text(&program)]);
    let said = verify();
    assert!(said.contains("Signature verification: ok") && said.contains("Succeeded"), "{said}");
    assert!(said.contains(&hex(&FileDigest::of(&driver_file).sha256)), "{said}");
    let mut damaged = bytes.clone();
    let at = bytes.windows(8).position(|window| window == [7; 8]).unwrap(); // in the list's identifier
    damaged[at] = 8;
    fs::write(&catalog, &damaged).unwrap();
    assert!(!verify().contains("Signature verification: ok"));
    let error = Catalog::read(&damaged).unwrap().verify().unwrap_err();
    assert!(error.to_string().starts_with("what is signed has been changed"), "{error}");
}

/// Flips every byte of a made catalog: what was signed is taken only as it was.
#[test]
fn flipped_bytes_of_a_made_catalog() {
    let sound =
        Order { files: &[("net.inf", INF)], authorities: &[&authority()], ..Order::default() }.sign(&publisher());
    let original = Catalog::read(&sound).unwrap();
    let thumbprint = original.verify().unwrap().signer().unwrap().thumbprint();
    let mut taken = Vec::new();
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        let Ok(catalog) = Catalog::read(&damaged) else { continue };
        let Ok(verified) = catalog.verify() else { continue };
        if verified.top == Top::Own && verified.chain.len() == 2 {
            assert_eq!(catalog.list().members, original.list().members, "byte {at}");
            assert_eq!(catalog.list().attributes, original.list().attributes, "byte {at}");
            assert_eq!(verified.signer().unwrap().thumbprint(), thumbprint, "byte {at}");
            taken.push(at);
        }
    }
    println!("{} of {} flips change nothing that is signed", taken.len(), sound.len());
    assert!(taken.len() < sound.len() / 20, "{taken:?}");
}

#[test]
fn time_stamps() {
    let valid = Purpose { validity: ("230101000000Z", "230801000000Z"), ..Purpose::default() };
    let signer = authority().vouch_for("Short Lived", valid);
    let stamps = Purpose { usages: &[TIME_STAMPING], ..Purpose::default() };
    let stamper = Identity::own("Test Clock", stamps);
    let remarks = |order: Order| Catalog::read(&order.sign(&signer)).unwrap().verify().unwrap();
    let order = Order { files: &[("x.inf", INF)], ..Order::default() };
    let none = remarks(order.clone());
    assert!(none.remarks[0].contains("until 2023-08-01T00:00:00"), "{:?}", none.remarks);
    assert_eq!(none.issues, [""; 0], "it was listed while the certificate was valid");
    for is_countersigned in [false, true] {
        let stamp = Some((&stamper, "230722120000Z", None));
        let unknown = remarks(Order { stamp, is_countersigned, ..order.clone() });
        assert_eq!(unknown.stamp, None);
        assert!(
            unknown.remarks[0].contains("Test Clock gave it, for whom Test Clock vouches, who is not known here"),
            "{:?}",
            unknown.remarks
        );
        let stamp = Some((&stamper, "230722120000Z", Some(&b"another signature"[..])));
        let moved = remarks(Order { stamp, is_countersigned, ..order.clone() });
        let said = if is_countersigned { "has been changed" } else { "of another signature" };
        assert!(moved.remarks[0].contains(said), "{:?}", moved.remarks);
        let stamp = Some((&signer, "230722120000Z", None));
        let unfit = remarks(Order { stamp, is_countersigned, ..order.clone() });
        assert!(unfit.remarks[0].contains("Short Lived may not give time stamps"), "{:?}", unfit.remarks);
    }
    let late = authority()
        .vouch_for("Too Late", Purpose { validity: ("240101000000Z", "250101000000Z"), ..Purpose::default() });
    let verified = Catalog::read(&order.sign(&late)).unwrap().verify().unwrap();
    assert!(verified.issues[0].contains("Too Late is valid from 2024-01-01"), "{:?}", verified.issues);
}

#[test]
fn chains_go_over_authorities_alone() {
    let files = [("x.inf", INF)];
    let verify = |signer: &Identity, authorities: &[&Identity]| {
        let bytes = Order { files: &files, authorities, ..Order::default() }.sign(signer);
        let verified = Catalog::read(&bytes).unwrap().verify().unwrap();
        (verified.top, verified.chain.len(), verified.remarks.join("\n"))
    };
    let by_publisher = publisher().vouch_for("Test Maker", Purpose::default());
    let (top, len, remarks) = verify(&by_publisher, &[&publisher(), &authority()]);
    assert_eq!((top, len), (Top::Missing, 1));
    assert!(remarks.contains("Test Publisher has issued Test Maker, and may not"), "{remarks}");
    let root = Purpose { is_authority: true, usages: &[], ..Purpose::default() };
    // Each vouches for the other: the way has an end all the same.
    let [one, other] = [("Test Authority", "Test Maker"), ("Test Maker", "Test Authority")]
        .map(|(name, by)| Identity::own(by, root).vouch_for(name, root));
    let (top, len, _) = verify(&one.vouch_for("Test Publisher", Purpose::default()), &[&one, &other]);
    assert_eq!((top, len), (Top::Missing, 8));
}
