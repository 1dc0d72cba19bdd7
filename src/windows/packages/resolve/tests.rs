//! Packages against images, both made in memory.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::bundle::Bundle;
use super::super::installed::{ComponentStore, InstalledPackage, state, tests::package};
use super::super::plan::{Effect, EffectKind, LeftOut, Payload};
use super::super::verify::{Verified, VerifiedManifest, VerifiedPackage};
use super::*;
use crate::base::Machine;
use crate::format::assembly::PackageManifest;
use crate::format::wim;
use crate::tree::{Content, Node, Times, Tree};
use crate::windows::About;
use crate::windows::drivers::trust::SignatureKind;

const TOKEN: &str = "31bf3856ad364e35";

/// An `assemblyIdentity`: `name version [language]`, of a component with `!` before it.
fn identity(text: &str) -> String {
    let scope = if text.starts_with('!') { " versionScope=\"nonSxS\"" } else { "" };
    let mut words = text.trim_start_matches('!').split(' ');
    let (name, version) = (words.next().unwrap(), words.next().unwrap());
    let language = words.next().unwrap_or("neutral");
    format!(
        "<assemblyIdentity name=\"{name}\" version=\"{version}\" processorArchitecture=\"amd64\" language=\"{language}\" \
         publicKeyToken=\"{TOKEN}\"{scope}/>"
    )
}

fn mum(who: &str, parents: &[&str], updates: &str) -> String {
    let parents = parents.iter().fold(String::new(), |mut text, parent| {
        let _ = write!(
            text,
            "<parent disposition=\"detect\" buildCompare=\"GE\" revisionCompare=\"GE\">{}</parent>",
            identity(parent)
        );
        text
    });
    format!("<assembly>{}<package releaseType=\"Feature Pack\">{parents}{updates}</package></assembly>", identity(who))
}

/// An update with deployments (`!`) and nested packages.
fn update(name: &str, before: &str, items: &[&str]) -> String {
    let items = items.iter().fold(String::new(), |mut text, item| {
        let kind = if item.starts_with('!') { "component" } else { "package" };
        let _ = write!(text, "<{kind}>{}</{kind}>", identity(item));
        text
    });
    format!("<update name=\"{name}\">{before}{items}</update>")
}

fn dependency(kind: &str, who: &str) -> String {
    let resource = if who.contains(".Resources") { " resourceType=\"Resources\"" } else { "" };
    let who = identity(who);
    format!("<dependency{resource}><dependentAssembly dependencyType=\"{kind}\">{who}</dependentAssembly></dependency>")
}

fn deployment(who: &str, brings: &[&str]) -> String {
    let brings: String = brings.iter().map(|who| dependency("install", who)).collect();
    format!("<assembly>{}<deployment/>{brings}</assembly>", identity(who))
}

fn component(who: &str, inside: &str) -> String {
    format!("<assembly>{}{inside}</assembly>", identity(who))
}

/// A bundle: its first package is the one that is not nested.
fn bundle(origin: &str, mums: &[String], manifests: &[String]) -> Verified {
    let packages = mums.iter().enumerate().map(|(at, text)| {
        let manifest = PackageManifest::read(&Element::parse(text.as_bytes()).unwrap()).unwrap();
        verified_package(manifest, text, at == 0)
    });
    let manifests = manifests.iter().map(|text| {
        let manifest = Manifest::read(&Element::parse(text.as_bytes()).unwrap()).unwrap();
        let keyform = manifest.identity.keyform();
        let payload =
            manifest.files.iter().map(|file| Payload { name: file.name.clone(), content: Content::from(vec![0; 10]) });
        let payload = payload.collect();
        (
            keyform.to_lowercase(),
            VerifiedManifest { keyform, manifest, bytes: text.as_bytes().into(), payload, missing: Vec::new() },
        )
    });
    let tree = Tree::new(Node::directory(0, Times::default()));
    let bundle = Bundle {
        origin: origin.into(),
        tree: tree.into(),
        documents: BTreeMap::new(),
        payload: BTreeMap::new(),
        unread: None,
    };
    Verified {
        bundle,
        packages: packages.collect(),
        manifests: manifests.collect(),
        remarks: Vec::new(),
        unread: Vec::new(),
        issues: Vec::new(),
    }
}

fn verified_package(manifest: PackageManifest, text: &str, is_top: bool) -> VerifiedPackage {
    VerifiedPackage {
        id: manifest.identity.package_id(),
        manifest,
        mum: text.as_bytes().into(),
        catalog: None,
        is_top,
        kind: SignatureKind::None,
        signer: None,
    }
}

const EDITION: &str = "Nano-Edition 10.0.14393.0";

/// A Nano Server in English with the edition's package, and more of them: `name version [language]`.
fn image(packages: &[&str], manifests: &[&str]) -> Installed {
    let about = About {
        edition: Some("ServerDatacenterNano".into()),
        version: Some(wim::Version { major: 10, minor: 0, build: 14393, revision: 1066, service_pack: 0 }),
        machine: Some(Machine::Amd64),
        languages: vec!["en-US".into()],
        ..About::default()
    };
    let packages = packages.iter().chain(&[EDITION]).map(|text| installed(text, state::INSTALLED)).collect();
    let keyforms = manifests.iter().map(|text| component_identity(text).keyform());
    Installed::new(about, packages, ComponentStore::of_names(keyforms))
}

fn installed(text: &str, number: u32) -> InstalledPackage {
    package(&component_identity(text).package_id(), number)
}

fn component_identity(text: &str) -> Identity {
    Identity::read(&Element::parse(identity(text).as_bytes()).unwrap()).unwrap()
}

/// Files are effects; commands are left out.
fn made(document: &Element, manifest: &Manifest) -> Result<Compiled> {
    let effect = |file: &crate::format::assembly::ManifestFile| Effect {
        kind: EffectKind::File,
        what: format!(r"\Windows\System32\{}", file.name),
        changes: Vec::new(),
    };
    let command = |element: &Element| LeftOut {
        what: "genericCommand".into(),
        line: element.line(),
        why: "it is a program".into(),
    };
    let effects = manifest.files.iter().map(effect).collect();
    Ok(Compiled { effects, left_out: document.children("genericCommand").map(command).collect() })
}

fn planned_with(bundles: &[Verified], image: &Installed, ignore_check: bool) -> Planned {
    let options = Options { ignore_check, threads: NonZeroUsize::new(2).unwrap() };
    plan_with(bundles, image, &options, &made).unwrap()
}

fn planned(bundles: &[Verified], image: &Installed) -> Planned {
    planned_with(bundles, image, false)
}

/// The only problem that there is, and all is said in it.
fn problem(bundles: &[Verified], image: &Installed, words: &[&str]) -> ProblemKind {
    let planned = planned(bundles, image);
    assert_eq!(planned.problems.len(), 1, "{:#?}", planned.problems);
    let problem = &planned.problems[0];
    for word in words {
        assert!(problem.text.contains(word), "{word}: {}", problem.text);
    }
    assert!(problem.error().to_string().contains(&problem.text));
    problem.kind.clone()
}

fn names(planned: &Planned) -> Vec<String> {
    let name = |identity: &Identity| match identity.is_neutral() {
        true => identity.name.clone(),
        false => format!("{}/{}", identity.name, identity.language),
    };
    planned.plan.packages.iter().map(|package| name(&package.identity)).collect()
}

fn components(planned: &Planned) -> Vec<&str> {
    planned.plan.components.iter().map(|component| component.identity.name.as_str()).collect()
}

fn containers() -> Verified {
    let command = "<file name=\"a.dll\"/><file name=\"b.dll\"/>\n<genericCommand/>";
    bundle(
        "containers.cab",
        &[
            mum("Containers 10.0.14393.0", &[EDITION], &update("Containers", "", &["Containers-Core 10.0.14393.0"])),
            mum("Containers-Core 10.0.14393.0", &[], &update("Core", "", &["!Deployment 10.0.14393.0"])),
        ],
        &[
            deployment("!Deployment 10.0.14393.0", &["!Server 10.0.14393.0", "!Driver 10.0.14393.0"]),
            component("!Server 10.0.14393.0", &(dependency("install", "!Driver 10.0.14393.0") + command)),
            component("!Driver 10.0.14393.0", "<file name=\"c.sys\"/>"),
        ],
    )
}

fn containers_language() -> Verified {
    bundle(
        "containers_en-us.cab",
        &[mum(
            "Containers 10.0.14393.0 en-US",
            &["Containers 10.0.14393.0"],
            &update("Language", "", &["!Language-Deployment 10.0.14393.0 en-US"]),
        )],
        &[
            deployment("!Language-Deployment 10.0.14393.0 en-US", &["!Server.Resources 10.0.14393.0 *"]),
            component("!Server.Resources 10.0.14393.0 en-US", "<file name=\"a.dll.mui\"/>"),
            component("!Server.Resources 10.0.14393.0 de-DE", "<file name=\"a.dll.mui\"/>"),
        ],
    )
}

#[test]
fn base_comes_before_language() {
    let bundles = [containers_language(), containers()];
    let image = image(&[], &["!Driver 10.0.14393.0", "!Server 10.0.10586.0"]);
    let planned = planned(&bundles, &image);
    assert_eq!(planned.problems, []);
    let deployment = component_identity("!Deployment 10.0.14393.0").keyform();
    let server = component_identity("!Server 10.0.14393.0").keyform();
    let driver = component_identity("!Driver 10.0.14393.0").keyform();
    let language = component_identity("!Language-Deployment 10.0.14393.0 en-US").keyform();
    let resources = component_identity("!Server.Resources 10.0.14393.0 en-US").keyform();
    let text = planned.plan.to_string();
    let records = &text[text.find("\nRecords\n").unwrap()..text.find("\nNot carried out\n").unwrap()];
    let expected = format!(
        r"Packages
  Containers~{TOKEN}~amd64~~10.0.14393.0 (Feature Pack), belongs to Nano-Edition~{TOKEN}~amd64~~10.0.14393.0
    Containers-Core~{TOKEN}~amd64~~10.0.14393.0 (Feature Pack)
  Containers~{TOKEN}~amd64~en-US~10.0.14393.0 (Feature Pack), belongs to Containers~{TOKEN}~amd64~~10.0.14393.0

Components
  {deployment} (deployment, new)
    brings       {server}
    brings       {driver}
  {server} (new, replaces 10.0.10586.0)
    stored       a.dll, 10 bytes
    stored       b.dll, 10 bytes
    file         \Windows\System32\a.dll
    file         \Windows\System32\b.dll
  {driver} (is there already)
    file         \Windows\System32\c.sys
  {language} (deployment, new)
    brings       {resources}
  {resources} (new)
    stored       a.dll.mui, 10 bytes
    file         \Windows\System32\a.dll.mui
{records}
Not carried out
  {server}.manifest, line 2: genericCommand: it is a program

3 packages, 2 components, 0 files (30 bytes), 0 registry values, 0 services; 1 thing not carried out
"
    );
    assert_eq!(text, expected);
    for kept in [
        r"\Windows\servicing\Packages\PACKAGE.mum",
        r"Component Based Servicing\Packages",
        r"WinSxS\Manifests\COMPONENT",
    ] {
        assert!(records.contains(kept), "{kept}: {records}");
    }
    assert_eq!(planned.plan.bundles_with_left_out(), BTreeSet::from([1]));
    assert_eq!(planned.warnings.len(), 1, "{:?}", planned.warnings);
    assert!(planned.warnings[0].contains("nothing asks for 1 of its components"), "{:?}", planned.warnings);
    let plan = &planned.plan;
    assert_eq!((plan.packages[0].within, plan.packages[1].within, plan.packages[2].within), (None, Some(0), None));
    assert_eq!(plan.packages[0].updates[0].packages, [1]);
    assert_eq!(plan.components[2].deployments, [0]);
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(plan).unwrap()).unwrap();
    assert_eq!(json["components"][0]["dependencies"][0], server);
    assert_eq!(json["sums"]["bytes"], 30);
    let options = Options { ignore_check: false, threads: NonZeroUsize::MIN };
    assert_eq!(plan_with(&bundles, &image, &options, &made).unwrap().plan.to_string(), expected);
}

#[test]
fn says_which_parent_is_wanted() {
    let ssh = || {
        let parents = ["Other-Edition 10.0.0.0", "Client 10.0.19041.1", "Server 10.0.19041.1"];
        bundle("ssh.cab", &[mum("OpenSSH 10.0.19041.1", &parents, "")], &[])
    };
    let words = [
        "OpenSSH~31bf3856ad364e35~amd64~~10.0.19041.1: ",
        "0x800f081e",
        "Other-Edition 10.0.0.0 or later, or Client 10.0.19041.1 or later, or Server",
        "ServerDatacenterNano 10.0.14393.1066 (amd64)",
    ];
    let ProblemKind::NotApplicable { wanted } = problem(&[ssh()], &image(&[], &[]), &words) else { panic!() };
    assert_eq!(wanted.len(), 3);
    problem(&[ssh()], &image(&["Client 10.0.18362.1"], &[]), &["and has Client 10.0.18362.1"]);
    let any = planned(&[ssh()], &image(&["Server 10.0.20348.1"], &[]));
    assert_eq!(any.plan.packages[0].parent.as_deref(), Some("Server~31bf3856ad364e35~amd64~~10.0.20348.1"));
    assert!(any.warnings[0].contains("of build 19041, the image of 14393"), "{:?}", any.warnings);
    let ignored = planned_with(&[ssh()], &image(&[], &[]), true);
    assert_eq!((ignored.problems.len(), ignored.plan.packages.len()), (0, 1));
    assert!(ignored.warnings[0].contains("ignored"), "{:?}", ignored.warnings);
}

#[test]
fn versions_of_parents_are_compared_part_by_part() {
    let parent = |attributes: &str| {
        let text = format!(
            "<assembly>{}<package><parent {attributes}>{}</parent></package></assembly>",
            identity("A 1.0.0.0"),
            identity("B 1.0.0.0")
        );
        PackageManifest::read(&Element::parse(text.as_bytes()).unwrap()).unwrap().parents.remove(0)
    };
    let holds = |attributes: &str, wanted: &str, there: &str| {
        parents::holds(&parent(attributes), Version::parse(wanted).unwrap(), Version::parse(there).unwrap())
    };
    let both = "buildCompare=\"GE\" revisionCompare=\"GE\"";
    assert!(holds(both, "10.0.0.0", "10.0.14393.0"));
    assert!(holds(both, "10.0.17637.1000", "10.0.19041.1"));
    assert!(!holds(both, "10.0.19041.1000", "10.0.19041.1"));
    assert!(!holds(both, "10.0.19041.1", "10.0.17763.1"));
    assert!(holds("", "10.0.14393.0", "10.0.14393.1066"));
    for other in ["10.0.14393.0", "6.2.9200.0", "6.0.7601.0", "7.1.7600.0"] {
        assert!(!holds(both, "6.1.7600.0", other) && !holds("buildCompare=\"LE\"", other, "6.1.7600.0"), "{other}");
    }
    let exact = "buildCompare=\"EQ\" revisionCompare=\"EQ\" serviceCompare=\"EQ\"";
    assert!(holds(exact, "10.0.19041.1", "10.0.19041.1"));
    assert!(!holds(exact, "10.0.19041.1", "10.0.19041.2"));
    assert!(!holds("buildCompare=\"EQ\"", "10.0.19041.1", "10.0.19042.1"));
    assert!(holds("buildCompare=\"EQ\"", "10.0.19041.1", "10.0.19041.2"));
}

#[test]
fn a_hundred_thousand_places_are_told_apart_at_once() {
    let start = std::time::Instant::now();
    let mut places = round::Places::default();
    (0..100_000).chain(0..100_000).for_each(|place| places.add(place));
    assert!(places.to_vec().into_iter().eq(0..100_000));
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_is_there_already() {
    let there = planned(&[containers()], &image(&["Containers 10.0.14393.0"], &[]));
    assert!(there.plan.packages[0].is_there && there.plan.packages.len() == 1);
    assert!(there.plan.components.is_empty() && there.warnings.is_empty(), "{:?}", there.warnings);
    assert_eq!(there.plan.sums(), Default::default());
    let about = image(&[], &[]).about().clone();
    let part =
        vec![installed("Containers 10.0.14393.0", state::PARTIALLY_INSTALLED), installed(EDITION, state::INSTALLED)];
    let part = planned(&[containers()], &Installed::new(about, part, ComponentStore::default()));
    assert!(!part.plan.packages[0].is_there && !part.plan.components.is_empty(), "it is completed");
    let newer = image(&["Containers 10.0.14393.5"], &[]);
    let kind = problem(&[containers()], &newer, &["has version 10.0.14393.5"]);
    assert_eq!(kind, ProblemKind::Superseded { by: Version([10, 0, 14393, 5]) });
    let older = planned(&[containers()], &image(&["Containers 10.0.10586.0"], &[]));
    assert_eq!(older.plan.packages[0].supersedes, [component_identity("Containers 10.0.10586.0").package_id()]);
    assert_eq!(older.plan.packages.len(), 2);
}

#[test]
fn other_processors_and_languages_stay_out() {
    let mut other = image(&[], &[]);
    let about = About { machine: Some(Machine::Arm64), ..other.about().clone() };
    other = Installed::new(about, other.packages().to_vec(), ComponentStore::default());
    assert_eq!(problem(&[containers()], &other, &["for amd64, the image for arm64"]), ProblemKind::WrongProcessor);

    let german = || bundle("de.cab", &[mum("Containers 10.0.14393.0 de-DE", &["Containers 10.0.14393.0"], "")], &[]);
    let bundles = [containers(), german()];
    let kind = problem(&bundles, &image(&[], &[]), &["for de-DE", "speaks en-US"]);
    assert_eq!(kind, ProblemKind::LanguageMissing { language: "de-DE".into() });
    let rest = planned(&bundles, &image(&[], &[]));
    assert_eq!(names(&rest), ["Containers", "Containers-Core"], "the other bundle goes in");
    assert_eq!(planned_with(&bundles, &image(&[], &[]), true).problems, []);

    let alone = [containers_language()];
    problem(&alone, &image(&[], &[]), &["wants Containers 10.0.14393.0 or later"]);
    let orphan = bundle("orphan.cab", &[mum("Orphan 10.0.14393.0 en-US", &[], "")], &[]);
    let kind = problem(&[orphan], &image(&[], &[]), &["Orphan 10.0.14393.0, of which it is the en-US part"]);
    assert!(matches!(kind, ProblemKind::NotApplicable { wanted } if wanted[0].is_neutral()));
}

#[test]
fn who_needs_a_bundle_with_a_problem_stays_out_too() {
    let mut base = containers();
    base.manifests.remove(&component_identity("!Driver 10.0.14393.0").keyform().to_lowercase());
    let other = bundle("other.cab", &[mum("Other 10.0.14393.0", &[EDITION], "")], &[]);
    let planned = planned(&[containers_language(), base, other], &image(&[], &[]));
    assert_eq!(names(&planned), ["Other"]);
    let kinds: Vec<usize> = planned.problems.iter().map(|problem| problem.bundle).collect();
    assert!(kinds.starts_with(&[1]) && kinds.ends_with(&[0]), "{:#?}", planned.problems);
    assert!(matches!(planned.problems[0].kind, ProblemKind::MissingComponent { .. }));
    let last = planned.problems.last().unwrap();
    assert!(last.text.contains("containers.cab has it, but does not go in itself"), "{}", last.text);
}

#[test]
fn parents_that_want_each_other_are_missing() {
    let one = |name: &str, parent: &str| {
        bundle(name, &[mum(&format!("{name} 1.0.0.0"), &[&format!("{parent} 1.0.0.0")], "")], &[])
    };
    let planned = planned(&[one("A", "B"), one("B", "A"), one("C", "C")], &image(&[], &[]));
    assert_eq!((planned.problems.len(), planned.plan.packages.len()), (3, 0));
}

#[test]
fn parents_come_first_whatever_was_said() {
    let one = |name: &str, parent: &str| bundle(name, &[mum(&format!("{name} 1.0.0.0"), &[parent], "")], &[]);
    let bundles = [one("C", "B 1.0.0.0"), one("B", "A 1.0.0.0"), one("X", EDITION), one("A", EDITION)];
    assert_eq!(names(&planned(&bundles, &image(&[], &[]))), ["X", "A", "B", "C"]);
}

#[test]
fn once_is_enough_and_the_newer_wins() {
    let newer = bundle("newer.cab", &[mum("Containers 10.0.14393.9", &[EDITION], "")], &[]);
    let planned = planned(&[containers(), containers(), newer], &image(&[], &[]));
    assert_eq!(planned.plan.packages.len(), 1);
    assert_eq!((planned.plan.packages[0].bundle, planned.problems.len()), (2, 0));
    assert!(planned.warnings[0].contains("was given twice"), "{:?}", planned.warnings);
    assert!(planned.warnings[1].contains("newer.cab has version 10.0.14393.9 of it"), "{:?}", planned.warnings);
}

#[test]
fn nested_packages() {
    let nested = [
        "Z 1.0.0.0",
        "A 1.0.0.0",
        "B 1.0.0.0",
        "L 1.0.0.0 en-US",
        "L 1.0.0.0 fr-FR",
        "L 1.0.0.0 ja-JP",
        "There 1.0.0.0",
    ];
    let mums = [
        mum("Top 1.0.0.0", &[EDITION], &update("U", "", &nested)),
        mum("Z 1.0.0.0", &["B 1.0.0.0"], ""), // put off until B is in
        mum("A 1.0.0.0", &[], &update("U", "", &["Top 1.0.0.0", "B 1.0.0.0"])),
        mum("B 1.0.0.0", &[], ""),
        mum("L 1.0.0.0 en-US", &[], ""),
        mum("L 1.0.0.0 fr-FR", &[], ""),
    ];
    let image = image(&["There 1.0.0.1"], &[]);
    let all = planned(&[bundle("top.cab", &mums, &[])], &image);
    assert_eq!(all.problems, []);
    assert_eq!(names(&all), ["Top", "A", "B", "Z", "L/en-US"]);
    assert_eq!(all.plan.packages[1].updates[0].packages, [0, 2]);
    assert_eq!(all.plan.packages[0].updates[0].packages, [1, 3, 2, 4], "in the order in which they go in");
    let warnings = all.warnings.join("\n");
    assert!(warnings.contains("does not speak fr-FR") && warnings.contains("1 nested packages of other"), "{warnings}");

    // One for another edition is passed over; one that is nowhere is missed.
    let mums =
        [mum("Top 1.0.0.0", &[EDITION], &update("U", "", &["A 1.0.0.0"])), mum("A 1.0.0.0", &["Desktop 1.0.0.0"], "")];
    let one = planned(&[bundle("top.cab", &mums, &[])], &image);
    assert_eq!(names(&one), ["Top"]);
    assert!(one.warnings[0].contains("1 nested packages do not apply"), "{:?}", one.warnings);
    let kind =
        problem(&[bundle("top.cab", &mums[..1], &[])], &image, &["A~31bf3856ad364e35~amd64~~1.0.0.0 is nested in it"]);
    assert!(matches!(kind, ProblemKind::MissingPackage { .. }));
    // Or it is in another bundle.
    let bundles = [bundle("top.cab", &mums[..1], &[]), bundle("a.cab", &[mum("A 1.0.0.0", &[], "")], &[])];
    let two = planned(&bundles, &image);
    assert_eq!(names(&two), ["Top", "A"]);
    assert_eq!(two.plan.packages[1].bundle, 1);
}

#[test]
fn ten_thousand_packages_in_each_other() {
    const DEPTH: usize = 10_000;
    let mums: Vec<String> = (0..DEPTH)
        .map(|at| {
            let name = |at: usize| format!("P{} 1.0.0.0", at % DEPTH);
            // The last one is the one that holds the first.
            mum(&name(at), &[], &update("U", "", &[&name(at + 1)]))
        })
        .collect();
    let deep = planned(&[bundle("deep.cab", &mums, &[])], &image(&[], &[]));
    assert_eq!(deep.plan.packages.len(), DEPTH);
    assert_eq!(deep.plan.packages[DEPTH - 1].within, Some(DEPTH - 2));
    assert!(deep.plan.to_string().len() < 200 * DEPTH);
}

#[test]
fn two_thousand_parents_that_come_later() {
    const MANY: usize = 2_000;
    let names: Vec<String> = (0..MANY).map(|at| format!("P{at} 1.0.0.0")).collect();
    let nested: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut mums = vec![mum("Top 1.0.0.0", &[], &update("U", "", &nested))];
    mums.extend((0..MANY).map(|at| mum(&names[at], &[names.get(at + 1).map_or(EDITION, String::as_str)], "")));
    let planned = planned(&[bundle("top.cab", &mums, &[])], &image(&[], &[]));
    assert_eq!(planned.plan.packages.len(), MANY + 1);
}

#[test]
fn features_are_on_by_their_conditions() {
    let needs = |name: &str| format!("<applicable><detectUpdate><update name=\"{name}\"/></detectUpdate></applicable>");
    let chosen = |default: bool| format!("<selectable><detectNone default=\"{default}\"/></selectable>");
    let elsewhere = format!(
        "<applicable><detectUpdate><parent>{}</parent><update name=\"Core\"/></detectUpdate></applicable>",
        identity(EDITION)
    );
    let component =
        format!("<applicable><updateComponent>{}</updateComponent></applicable>", identity("!There 1.0.0.0"));
    let updates = [
        update("late", &needs("always"), &[]),
        update("always", "", &[]),
        update("on", &chosen(true), &[]),
        update("off", &chosen(false), &["!Nowhere 1.0.0.0"]),
        update("needs-off", &needs("OFF"), &[]),
        update("chicken", &needs("egg"), &[]),
        update("egg", &needs("chicken"), &[]),
        update("elsewhere", &elsewhere, &[]),
        update("component", &component, &[]),
    ];
    let bundles = [bundle("f.cab", &[mum("F 1.0.0.0", &[], &updates.concat())], &[])];
    let on = |planned: &Planned| {
        let on = planned.plan.packages[0].updates.iter().filter(|update| update.is_on);
        on.map(|update| update.name.clone()).collect::<Vec<_>>()
    };
    let found = planned(&bundles, &image(&[], &["!There 2.0.0.0"]));
    assert_eq!(found.problems, []);
    assert_eq!(on(&found), ["late", "always", "on", "elsewhere", "component"]);
    assert!(found.warnings[0].contains("stay off: off, needs-off, chicken, egg"), "{:?}", found.warnings);
    let text = found.plan.to_string();
    assert!(text.contains("    feature on: on\n    feature off: off\n"), "{text}");
    assert_eq!(on(&planned(&bundles, &image(&[], &[]))), ["late", "always", "on", "elsewhere"]);
}

#[test]
fn components_ask_for_components() {
    let one = |manifests: &[String]| {
        let top = mum("Top 10.0.14393.0", &[], &update("U", "", &["!D 10.0.14393.0"]));
        bundle("top.cab", &[top], manifests)
    };
    let d = deployment("!D 10.0.14393.0", &["!A 10.0.14393.0"]);
    // In a circle, and once each.
    let a = component(
        "!A 10.0.14393.0",
        &(dependency("install", "!B 10.0.14393.0") + &dependency("install", "!A 10.0.14393.0")),
    );
    let b = component("!B 10.0.14393.0", &dependency("install", "!A 10.0.14393.0"));
    let circle = planned(&[one(&[d.clone(), a.clone(), b])], &image(&[], &[]));
    assert_eq!(components(&circle), ["D", "A", "B"]);
    assert_eq!(circle.plan.components[1].dependencies, [2]);
    assert_eq!(circle.plan.components[2].deployments, [0]);
    // A later revision of the same build serves; that of another build does not.
    let later = component("!B 10.0.14393.7", "");
    assert_eq!(components(&planned(&[one(&[d.clone(), a.clone(), later])], &image(&[], &[]))), ["D", "A", "B"]);
    assert_eq!(components(&planned(&[one(&[d.clone(), a.clone()])], &image(&[], &["!B 10.0.14393.7"]))), ["D", "A"]);
    let other = [one(&[d.clone(), a.clone(), component("!B 10.0.14394.0", "")])];
    let kind =
        problem(&other, &image(&[], &[]), &["amd64_a_", "amd64_b_", "neither among what was given nor in the image"]);
    assert!(matches!(kind, ProblemKind::MissingComponent { identity } if identity.name == "B"));
    assert_eq!(planned_with(&other, &image(&[], &[]), true).problems, []);
    // What has to be there.
    let needs = component("!A 10.0.14393.0", &dependency("prerequisite", "!P 10.0.14393.0"));
    let needs = [one(&[d, needs])];
    let kind = problem(&needs, &image(&[], &["!P 10.0.10586.0"]), &["amd64_p_", "has to be there"]);
    assert!(matches!(kind, ProblemKind::MissingPrerequisite { identity } if identity.name == "P"));
    assert_eq!(planned(&needs, &image(&[], &["!P 10.0.14393.1"])).problems, []);
    let unknown = planned(&needs, &image(&[], &[]));
    assert!(
        unknown.problems.is_empty() && unknown.warnings[0].contains("no component store"),
        "{:?}",
        unknown.warnings
    );
    let p = bundle(
        "p.cab",
        &[mum("P 10.0.14393.0", &[], &update("U", "", &["!P-D 10.0.14393.0"]))],
        &[deployment("!P-D 10.0.14393.0", &["!P 10.0.14393.0"]), component("!P 10.0.14393.0", "")],
    );
    let [needs] = needs;
    assert_eq!(planned(&[needs, p], &image(&[], &["!Q 1.0.0.0"])).problems, []);
}

#[test]
fn files_have_to_come_from_somewhere() {
    let mut base = containers();
    let keyform = component_identity("!Server 10.0.14393.0").keyform();
    base.manifests.get_mut(&keyform.to_lowercase()).unwrap().missing = vec!["a.dll".into()];
    let bundles = [base];
    let kind = problem(&bundles, &image(&[], &[]), &[&format!(r"{keyform}\a.dll"), "0x800f081f"]);
    assert_eq!(kind, ProblemKind::MissingPayload { file: "a.dll".into() });
    let [found] = planned(&bundles, &image(&[], &[])).problems.try_into().unwrap();
    assert!(!found.text.contains("more"), "{}", found.text);
    assert!(found.error().hint_text().unwrap().contains("lacks files"));
    let device = r"drivers\con.dll".to_owned();
    let mut odd = containers();
    odd.manifests.get_mut(&keyform.to_lowercase()).unwrap().missing = vec![device.clone(), "b.dll".into()];
    let kind = problem(&[odd], &image(&[], &[]), &[r"drivers\con.dll", "name of a device", "and so are 1 more"]);
    assert_eq!(kind, ProblemKind::MissingPayload { file: device });
    assert_eq!(planned(&bundles, &image(&[], &["!Server 10.0.14393.0"])).problems, [], "it is in the store");
}

#[test]
fn unknown_dependencies_and_elements_are_left_out() {
    let a = component("!A 1.0.0.0", &dependency("entangled", "!B 1.0.0.0"));
    let top = mum("Top 1.0.0.0", &[], &(update("U", "", &["!A 1.0.0.0"]) + "<newElement/>"));
    let planned = planned(&[bundle("top.cab", &[top], &[a])], &image(&[], &[]));
    let left: Vec<String> = planned.plan.left_out().map(|(file, left)| format!("{file}: {}", left.what)).collect();
    assert_eq!(left.len(), 2);
    assert!(left[0].contains(".mum: package/newElement") && left[1].contains("entangled"), "{left:?}");
    assert_eq!(planned.plan.bundles_with_left_out(), BTreeSet::from([0]));
    assert_eq!(planned.plan.sums().left_out, 2);
}

#[test]
fn of_several_versions_the_newest_wins() {
    let file = "<file name=\"a.dll\"/>";
    let one = |name: &str, version: &str| {
        let (who, part) = (format!("{name} 1.0.0.0"), format!("!Part {version}"));
        let part = part.as_str();
        bundle(name, &[mum(&who, &[], &update("U", "", &[part]))], &[component(part, file)])
    };
    let bundles = [one("Old", "10.0.14393.0"), one("New", "10.0.14393.9")];
    let both = planned(&bundles, &image(&[], &["!Part 6.3.9600.0"]));
    let [old, new] = both.plan.components.as_slice() else { panic!() };
    assert!(old.is_beaten() && old.effects.is_empty());
    assert_eq!(old.others, [Version([6, 3, 9600, 0]), Version([10, 0, 14393, 9])]);
    assert!(!new.is_beaten() && new.effects.len() == 1);
    assert!(both.plan.to_string().contains("stored only: 10.0.14393.9 is newer"));
    let beaten = planned(&bundles, &image(&[], &["!Part 10.0.17763.0"]));
    assert!(beaten.plan.components.iter().all(|component| component.is_beaten()));
    // What programs bind to by version is another component with each minor one.
    let win32 = |version: &str| component(&format!("Win32 {version}"), file);
    let top = mum("Top 1.0.0.0", &[], &update("U", "", &["!D 1.0.0.0"]));
    let d = deployment("!D 1.0.0.0", &["Win32 5.82.1.0"]);
    let controls = planned(&[bundle("top.cab", &[top], &[d, win32("5.82.1.0")])], &image(&[], &["Win32 6.0.1.0"]));
    assert_eq!(controls.plan.components[1].others, []);
}

#[test]
fn a_manifest_that_cannot_be_compiled_is_named() {
    let fails = |_: &Element, _: &Manifest| Err(Error::corrupt("odd"));
    let error = plan_with(&[containers()], &image(&[], &[]), &Options::default(), &fails).unwrap_err();
    assert!(error.to_string().starts_with("amd64_deployment_"), "{error}");
    let fails = |_: &Element, manifest: &Manifest| match manifest.identity.name.as_str() {
        "Server" => Err(Error::unsupported("processor of a component").found("arm").context("why")),
        _ => Ok(Compiled::default()),
    };
    let planned_so = plan_with(&[containers()], &image(&[], &[]), &Options::default(), &fails).unwrap();
    let left: Vec<(String, &LeftOut)> = planned_so.plan.left_out().collect();
    let [(file, left)] = &left[..] else { panic!("{left:?}") };
    assert!(file.contains("amd64_server_") && left.why.contains("processor of a component"), "{file}: {left:?}");
    assert_eq!((planned_so.plan.bundles_with_left_out(), left.line), (BTreeSet::from([0]), 1));
    let nothing = planned(&[bundle("none.cab", &[], &[])], &image(&[], &[]));
    assert_eq!(nothing.problems[0].kind, ProblemKind::NoPackage);
    assert_eq!(planned(&[], &image(&[], &[])).plan.packages.len(), 0);
}
