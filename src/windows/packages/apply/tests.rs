//! Plans into small trees and out of them again.

mod shared;

use std::collections::BTreeMap;

use super::{Applied, Source, apply_from};
use crate::base::{FileTime, Machine, Name};
use crate::error::Kind;
use crate::format::assembly::{Element, Identity, Manifest, Version};
use crate::format::hive::{Hive, KeyId, Value};
use crate::tree::{Content, Link, NodeId, Tree, attributes};
use crate::windows::drivers::Signature;
use crate::windows::packages::compile::{Target, compile};
use crate::windows::packages::installed::SERVICING;
use crate::windows::packages::plan::{
    Change, ComponentPlan, Effect, EffectKind, PackagePlan, Payload, Plan, UpdatePlan,
};
use crate::windows::packages::remove::remove;
use crate::windows::registry::read_hive;
use crate::windows::tests::{executable, tree_of};

const NOW: FileTime = FileTime(131_500_000_000_000_000);
const LATER: FileTime = FileTime(131_600_000_000_000_000);

const SYSTEM: &str = r"\Windows\System32\config\SYSTEM";
const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";
const COMPONENTS: &str = r"\Windows\System32\config\COMPONENTS";
const USER: &str = r"\Users\Default\NTUSER.DAT";
const HIVES: [&str; 4] = [SYSTEM, SOFTWARE, COMPONENTS, USER];

const IDENTITY: &str = r#"version="10.0.14393.7" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35" versionScope="nonSxS""#;
const SVCHOST: &str = r"Microsoft\Windows NT\CurrentVersion\SvcHost";
const ENVIRONMENT: &str = r"ControlSet001\Control\Session Manager\Environment";

fn hive(name: &str, values: &[(&str, &str, Value)]) -> Vec<u8> {
    let mut hive = Hive::new(name, FileTime(131_000_000_000_000_000)).unwrap();
    for (path, name, value) in values {
        let key = hive.create_key(path).unwrap();
        hive.set_value(key, *name, value.clone()).unwrap();
    }
    hive.to_bytes().unwrap()
}

fn image() -> Tree {
    let system = hive(
        "SYSTEM",
        &[
            ("Select", "Current", Value::dword(1)),
            (ENVIRONMENT, "Path", Value::expand_sz(r"%SystemRoot%\system32")),
            (r"ControlSet001\Services\disk", "Start", Value::dword(0)),
            (r"ControlSet001\Control\ProductOptions", "ProductType", Value::sz("ServerNT")),
            (r"ControlSet001\Control\Thing", "Level", Value::dword(3)),
        ],
    );
    let software = hive(
        "SOFTWARE",
        &[
            (SVCHOST, "netsvcs", Value::multi_sz(["Themes"])),
            (r"Microsoft\Windows NT\CurrentVersion", "CurrentBuildNumber", Value::sz("14393")),
            (r"Microsoft\Windows NT\CurrentVersion", "CurrentMajorVersionNumber", Value::dword(10)),
            (r"Microsoft\Windows NT\CurrentVersion", "CurrentMinorVersionNumber", Value::dword(0)),
            (r"Microsoft\Windows\CurrentVersion\SideBySide\Winners", "", Value::sz("x")),
        ],
    );
    let components = hive("COMPONENTS", &[("DerivedData", "x", Value::dword(1))]);
    let user = hive("Default", &[("Console", "x", Value::dword(1))]);
    let loader = executable(0x8664);
    tree_of(&[
        (SYSTEM, &system),
        (SOFTWARE, &software),
        (COMPONENTS, &components),
        (USER, &user),
        (r"\Windows\System32\winload.exe", &loader),
        (r"\Windows\System32\old.dll", b"of nobody"),
    ])
}

/// Every name with what it leads to, the hives apart.
fn names(tree: &Tree) -> BTreeMap<String, (NodeId, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    tree.visit(|path, link| {
        if !HIVES.contains(&path) {
            let content = tree.node(link.node).main().map(|content| tree.read(content).unwrap());
            found.insert(path.to_owned(), (link.node, content));
        }
        std::ops::ControlFlow::Continue(())
    });
    found
}

/// Every key and value.
fn keys(tree: &Tree, path: &str) -> BTreeMap<String, (u32, Vec<u8>)> {
    fn add(hive: &Hive, key: KeyId, found: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        found.insert(hive.path(key), (0, hive.descriptor(key).unwrap_or_default().to_vec()));
        for value in hive.values(key) {
            found.insert(format!(r"{}\\{}", hive.path(key), value.name), (value.kind, value.data.to_vec()));
        }
        hive.subkeys(key).for_each(|key| add(hive, key, found));
    }
    let hive = read_hive(tree, path).unwrap().unwrap();
    let mut found = BTreeMap::new();
    add(&hive, hive.root(), &mut found);
    found
}

fn value(tree: &Tree, path: &str, key: &str, name: &str) -> Option<Value> {
    let hive = read_hive(tree, path).unwrap().unwrap();
    let key = hive.open(key)?;
    hive.value(key, name).map(|value| value.to_value())
}

fn identity(name: &str) -> Identity {
    let text = format!("<a><assemblyIdentity name=\"{name}\" {IDENTITY}/></a>");
    Identity::read(Element::parse(text.as_bytes()).unwrap().child("assemblyIdentity").unwrap()).unwrap()
}

fn assembly(name: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "<assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" manifestVersion=\"1.0\"><assemblyIdentity name=\"{name}\" {IDENTITY}/>{body}</assembly>"
    );
    text.into_bytes()
}

fn component(manifest: &[u8], payload: &[(&str, &str)]) -> ComponentPlan {
    let document = Element::parse(manifest).unwrap();
    let header = Manifest::read(&document).unwrap();
    let target = Target { machine: Machine::Amd64, language: "en-US".into(), lacks: [].into() };
    let compiled = compile(&document, &header, &target).unwrap();
    assert_eq!(compiled.left_out, [], "the tests' own manifests are carried out whole");
    let file =
        |(name, text): &(&str, &str)| Payload { name: (*name).into(), content: Content::Bytes(text.as_bytes().into()) };
    ComponentPlan {
        keyform: header.identity.keyform(),
        is_deployment: header.is_deployment,
        identity: header.identity,
        bundle: 0,
        manifest: manifest.into(),
        deployments: vec![0],
        dependencies: Vec::new(),
        is_there: false,
        others: Vec::new(),
        payload: payload.iter().map(file).collect(),
        effects: compiled.effects,
        left_out: compiled.left_out,
    }
}

/// A plan of one package with one deployment, which is the first of the components.
fn plan(name: &str, components: Vec<ComponentPlan>) -> Plan {
    let deployment = format!("{name}-Deployment");
    let dependencies: String = components
        .iter()
        .map(|component| {
            let name = &component.identity.name;
            format!("<dependency><dependentAssembly dependencyType=\"install\"><assemblyIdentity name=\"{name}\" {IDENTITY}/></dependentAssembly></dependency>")
        })
        .collect();
    let manifest = assembly(&deployment, &format!("<deployment/>{dependencies}"));
    let mum = assembly(
        name,
        &format!(
            "<package identifier=\"x\" releaseType=\"Feature Pack\"><update name=\"On\"><component><assemblyIdentity name=\"{deployment}\" {IDENTITY}/></component></update></package>"
        ),
    );
    let mut all = vec![component(&manifest, &[])];
    all.extend(components);
    let update = UpdatePlan {
        name: "On".into(),
        is_selectable: true,
        is_on: true,
        deployments: vec![0],
        packages: Vec::new(),
        drivers: Vec::new(),
    };
    let package = PackagePlan {
        bundle: 0,
        identity: identity(name),
        release_type: None,
        within: None,
        parent: None,
        supersedes: Vec::new(),
        is_there: false,
        updates: vec![update],
        manifest: mum.into(),
        catalog: Some(format!("catalog of {name}").into_bytes().into()),
        left_out: Vec::new(),
    };
    Plan { packages: vec![package], components: all }
}

fn put(tree: &mut Tree, plan: &Plan, now: FileTime) -> crate::error::Result<Applied> {
    let nothing = Tree::new(crate::tree::Node::directory(0, crate::tree::Times::default()));
    let source = Source { origin: "a.cab", tree: &nothing, signature: Signature { signer: None, score: 0x8000_0000 } };
    apply_from(tree, plan, &[source], now)
}

fn agent(name: &str) -> ComponentPlan {
    let body = r#"<file name="agent.exe" destinationPath="$(runtime.system32)\Agent\" importPath="x"/>
        <file name="old.dll" destinationPath="$(runtime.system32)"/>
        <registryKeys>
          <registryKey keyName="HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Thing">
            <registryValue name="Level" valueType="REG_DWORD" value="0x00000009"/>
            <registryValue name="New" valueType="REG_SZ" value="x"/>
          </registryKey>
          <registryKey keyName="HKEY_LOCAL_MACHINE\SOFTWARE\Agent\Deep\Empty"/>
          <registryKey keyName="HKEY_CURRENT_USER\Console"><registryValue name="Agent" valueType="REG_SZ" value="y"/></registryKey>
        </registryKeys>
        <memberships>
          <categoryMembership><id name="Microsoft.Windows.Categories.Services" version="10.0.14393.7" publicKeyToken="31bf3856ad364e35" typeName="Service"/>
            <categoryInstance subcategory="agent"><serviceData name="agent" displayName="Agent" start="demand" type="win32ShareProcess" imagePath="%SystemRoot%\system32\svchost.exe -k netsvcs" objectName="LocalSystem" errorControl="normal"/></categoryInstance></categoryMembership>
          <categoryMembership><id name="Microsoft.Windows.Categories" version="1.0.0.0" publicKeyToken="365143bb27e7ac8b" typeName="SvcHost"/>
            <categoryInstance subcategory="netsvcs"><serviceGroup serviceName="agent" position="last"/></categoryInstance></categoryMembership>
        </memberships>"#;
    component(&assembly(name, body), &[("agent.exe", "program"), ("old.dll", "of the agent")])
}

#[test]
fn a_package_goes_in_and_leaves_no_trace_when_it_goes() {
    let mut tree = image();
    let before = (names(&tree), HIVES.map(|path| keys(&tree, path)));
    let plan = plan("Agent-Package", vec![agent("Agent")]);
    let applied = put(&mut tree, &plan, NOW).unwrap();
    assert_eq!(applied.components, 2);
    assert!(
        applied.warnings.iter().any(|text| text.contains("old.dll belonged to no component")),
        "{:?}",
        applied.warnings
    );
    assert!(applied.warnings.iter().any(|text| text.contains("(was 0x3)")), "{:?}", applied.warnings);

    let keyform = &plan.components[1].keyform;
    let stored = tree.find(&format!(r"\Windows\WinSxS\{keyform}\agent.exe")).unwrap();
    assert_eq!(tree.find(r"\Windows\System32\Agent\agent.exe"), Some(stored));
    assert_eq!(tree.node(stored).links(), 2);
    assert_eq!(tree.read_file(r"\Windows\System32\old.dll").unwrap().unwrap(), b"of the agent");
    let service = r"ControlSet001\Services\agent";
    assert_eq!(value(&tree, SYSTEM, service, "Start"), Some(Value::dword(3)));
    assert_eq!(value(&tree, SOFTWARE, SVCHOST, "netsvcs"), Some(Value::multi_sz(["Themes", "agent"])));
    assert_eq!(value(&tree, USER, "Console", "Agent"), Some(Value::sz("y")));
    assert_records(&tree, &plan);

    let removed = remove(&mut tree, "agent-package", None, LATER).unwrap();
    assert_eq!((removed.packages.len(), removed.components.len()), (1, 2));
    assert_eq!(removed.warnings, [] as [String; 0]);
    assert_eq!(names(&tree), before.0);
    for (path, expected) in HIVES.iter().zip(&before.1) {
        assert_eq!(keys(&tree, path), *expected, "{path}");
    }
}

/// Records as gowim's notes, Winter and scripts that enter components by hand have them.
fn assert_records(tree: &Tree, plan: &Plan) {
    let id = plan.packages[0].identity.package_id();
    let key = format!(r"{SERVICING}\Packages\{id}");
    let of = |name: &str| value(tree, SOFTWARE, &key, name).unwrap();
    assert_eq!(of("CurrentState"), Value::dword(0x70));
    assert_eq!(of("Visibility"), Value::dword(1));
    assert_eq!(of("InstallClient"), Value::sz("DISM Package Manager Provider"));
    assert_eq!(of("InstallName"), Value::sz(&format!("{id}.mum")));
    assert_eq!(
        (of("InstallTimeHigh"), of("InstallTimeLow")),
        (Value::dword((NOW.0 >> 32) as u32), Value::dword(NOW.0 as u32))
    );
    assert_eq!((of("SelfUpdate"), of("InstallUser")), (Value::dword(0), Value::sz("S-1-5-18")));
    assert_eq!(value(tree, SOFTWARE, &format!(r"{key}\Owners"), &id), Some(Value::dword(0x0002_0070)));
    assert_eq!(value(tree, SOFTWARE, &format!(r"{key}\Updates"), "On"), Some(Value::dword(0x70)));
    let index = format!(r"{SERVICING}\PackageIndex\Agent-Package~31bf3856ad364e35~amd64~~0.0.0.0");
    assert!(value(tree, SOFTWARE, &index, &id).is_some());

    let [deployment, component] = plan.components.as_slice() else { panic!() };
    let key = format!(r"DerivedData\Components\{}", component.keyform);
    let text = "Agent, Culture=neutral, Version=10.0.14393.7, PublicKeyToken=31bf3856ad364e35, ProcessorArchitecture=amd64, versionScope=NonSxS";
    assert_eq!(value(tree, COMPONENTS, &key, "identity"), Some(Value::binary(text)));
    assert_eq!(value(tree, COMPONENTS, &key, "S256H").unwrap().data.len(), 32);
    assert_eq!(value(tree, COMPONENTS, &key, "f!agent.exe"), Some(Value::dword(1)));
    let tie = format!("c!{}", deployment.identity.deployment_keyform());
    assert_eq!(value(tree, COMPONENTS, &key, &tie), Some(Value::binary([])));
    let key = format!(r"CanonicalData\Deployments\{}", deployment.identity.deployment_keyform());
    for prefix in ["p", "s", "i"] {
        let name = crate::format::assembly::cbs_value_name(prefix.chars().next().unwrap(), &id, "On");
        let data = value(tree, COMPONENTS, &key, &name).unwrap().data;
        assert_eq!(data[..8], [id.len() as u8, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(data[8..], *format!("{id}.On").as_bytes());
    }
    let Some(thumbprint) = value(tree, COMPONENTS, &key, "CatalogThumbprint") else { panic!() };
    assert_eq!(thumbprint.data.len(), 130);
    for path in [
        format!(r"\Windows\servicing\Packages\{id}.mum"),
        format!(r"\Windows\servicing\Packages\{id}.cat"),
        format!(r"\Windows\System32\CatRoot\{{F750E6C3-38EE-11D1-85E5-00C04FC295EE}}\{id}.cat"),
        format!(r"\Windows\WinSxS\Manifests\{}.manifest", component.keyform),
    ] {
        assert!(tree.find(&path).is_some(), "{path}");
    }
    assert!(tree.find(r"\Windows\WinSxS\pending.xml").is_none());
}

#[test]
fn twice_is_as_once() {
    let mut tree = image();
    let mut plan = plan("Agent-Package", vec![agent("Agent")]);
    put(&mut tree, &plan, NOW).unwrap();
    let before = (names(&tree), HIVES.map(|path| tree.read_file(path).unwrap()));
    plan.packages[0].is_there = true;
    plan.components.iter_mut().for_each(|component| component.is_there = true);
    let again = put(&mut tree, &plan, LATER).unwrap();
    assert_eq!((again.files, again.hives, again.components), (0, vec![], 0));
    assert_eq!((names(&tree), HIVES.map(|path| tree.read_file(path).unwrap())), before);

    // What is missing of it is put back, what is set otherwise stays.
    let folder = tree.find(r"\Windows\System32\Agent").unwrap();
    tree.remove_link(folder, Name::from("agent.exe").units()).unwrap();
    assert_eq!(put(&mut tree, &plan, LATER).unwrap().files, 1);
    assert_eq!(names(&tree), before.0);
}

#[test]
fn what_two_packages_share_stays_until_both_are_gone() {
    let mut tree = image();
    let before = (names(&tree), HIVES.map(|path| keys(&tree, path)));
    let shared = r#"<directories><directory destinationPath="$(runtime.system32)\Shared"/></directories><registryKeys>
        <registryKey keyName="HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Thing"><registryValue name="Level" valueType="REG_DWORD" value="0x0000000"#;
    let one = component(&assembly("One", &format!("{shared}5\"/></registryKey></registryKeys>")), &[]);
    let two = component(&assembly("Two", &format!("{shared}6\"/></registryKey></registryKeys>")), &[]);
    put(&mut tree, &plan("One-Package", vec![one]), NOW).unwrap();
    put(&mut tree, &plan("Two-Package", vec![two]), NOW).unwrap();
    let level = |tree: &Tree| value(tree, SYSTEM, r"ControlSet001\Control\Thing", "Level");
    assert_eq!(level(&tree), Some(Value::dword(6)));
    remove(&mut tree, "Two-Package", None, LATER).unwrap();
    assert_eq!(level(&tree), Some(Value::dword(5)), "as the other one has it");
    assert!(tree.find(r"\Windows\System32\Shared").is_some());
    remove(&mut tree, "One-Package", None, LATER).unwrap();
    assert_eq!(level(&tree), Some(Value::dword(3)), "as it was");
    assert_eq!(names(&tree), before.0);
    for (path, expected) in HIVES.iter().zip(&before.1) {
        assert_eq!(keys(&tree, path), *expected, "{path}");
    }
}

fn versioned(version: [u16; 4], text: &str) -> ComponentPlan {
    let body = r#"<file name="lib.dll" destinationPath="$(runtime.system32)"/>"#;
    let manifest = String::from_utf8(assembly("Lib", body)).unwrap();
    let manifest = manifest.replace("10.0.14393.7", &Version(version).to_string());
    component(manifest.as_bytes(), &[("lib.dll", text)])
}

#[test]
fn an_older_version_gives_way_and_comes_back() {
    let mut tree = image();
    let (old, new) = (versioned([10, 0, 14393, 0], "old"), versioned([10, 0, 14393, 9], "new"));
    let mut newer = new.clone();
    newer.others = vec![old.identity.version];
    put(&mut tree, &plan("Old-Package", vec![old.clone()]), NOW).unwrap();
    let before = names(&tree);
    let lib = |tree: &Tree| tree.read_file(r"\Windows\System32\lib.dll").unwrap().unwrap();
    assert_eq!(put(&mut tree, &plan("New-Package", vec![newer]), NOW).unwrap().warnings, [] as [String; 0]);
    assert_eq!(lib(&tree), b"new");
    remove(&mut tree, "New-Package", None, LATER).unwrap();
    assert_eq!((lib(&tree), names(&tree)), (b"old".to_vec(), before));

    // The other way round, the older one is stored only.
    let mut tree = image();
    put(&mut tree, &plan("New-Package", vec![new.clone()]), NOW).unwrap();
    let mut beaten = old.clone();
    beaten.others = vec![new.identity.version];
    put(&mut tree, &plan("Old-Package", vec![beaten]), NOW).unwrap();
    assert_eq!(lib(&tree), b"new");
    assert!(tree.find(&format!(r"\Windows\WinSxS\{}\lib.dll", old.keyform)).is_some());
    remove(&mut tree, "Old-Package", None, LATER).unwrap();
    assert_eq!(lib(&tree), b"new");
}

#[test]
fn without_the_components_hive_the_manifests_tell() {
    let mut tree = image();
    let folder = tree.find(r"\Windows\System32\config").unwrap();
    tree.remove_link(folder, Name::from("COMPONENTS").units()).unwrap();
    let before = names(&tree);
    let applied = put(&mut tree, &plan("Agent-Package", vec![agent("Agent")]), NOW).unwrap();
    assert!(applied.warnings.iter().any(|text| text.contains("COMPONENTS")), "{:?}", applied.warnings);
    assert_eq!(remove(&mut tree, "Agent-Package", None, LATER).unwrap().components.len(), 2);
    assert_eq!(names(&tree), before);
}

#[test]
fn what_is_pending_is_not_disturbed() {
    let pending = |path: &str, name: &str, value: Value| {
        let mut tree = image();
        let mut hive = read_hive(&tree, SOFTWARE).unwrap().unwrap();
        let key = hive.create_key(&format!(r"{SERVICING}\{path}")).unwrap();
        hive.set_value(key, name, value).unwrap();
        let node = tree.find(SOFTWARE).unwrap();
        tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
        tree
    };
    let plan = plan("Agent-Package", vec![agent("Agent")]);
    for (path, name, number) in
        [("RebootPending", "x", 0), ("PackagesPending", "x", 0), ("SessionsPending", "Exclusive", 3)]
    {
        let error = put(&mut pending(path, name, Value::dword(number)), &plan, NOW).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{path}");
        assert!(error.to_string().contains(path), "{error}");
    }
    let mut rest = pending("SessionsPending", "Exclusive", Value::dword(0));
    put(&mut rest, &plan, NOW).unwrap();
    let winsxs = rest.find(r"\Windows\WinSxS").unwrap();
    let file = crate::tree::Node::file(0, crate::tree::Times::default(), Content::empty());
    let node = rest.add_node(file).unwrap();
    rest.add_link(winsxs, Link { name: "pending.xml".into(), short: None, node }).unwrap();
    let mut again = plan.clone();
    again.components.iter_mut().for_each(|component| component.is_there = true);
    put(&mut rest, &again, LATER).unwrap();
    assert_eq!(remove(&mut rest, "Agent-Package", None, LATER).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn some_packages_stay() {
    let mut tree = image();
    put(&mut tree, &plan("Agent-Package", vec![agent("Agent")]), NOW).unwrap();
    let error = remove(&mut tree.clone(), "Agent-Pakage", None, LATER).unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (Kind::Invalid, Some("did you mean Agent-Package?")));
    for (state, word) in [(0x80, "permanent"), (0x40, "not installed"), (0x50, "superseded")] {
        let mut tree = tree.clone();
        let mut hive = read_hive(&tree, SOFTWARE).unwrap().unwrap();
        let id = identity("Agent-Package").package_id();
        let key = hive.create_key(&format!(r"{SERVICING}\Packages\{id}")).unwrap();
        hive.set_value(key, "CurrentState", Value::dword(state)).unwrap();
        let node = tree.find(SOFTWARE).unwrap();
        tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
        let error = remove(&mut tree, "Agent-Package", None, LATER).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn hostile_plans_are_refused() {
    let evil = |change: Change| {
        let mut component = versioned([1, 0, 0, 0], "x");
        component.effects = vec![Effect { kind: EffectKind::File, what: "evil".into(), changes: vec![change] }];
        put(&mut image(), &plan("P", vec![component]), NOW)
    };
    let link = |path: &str| Change::Link {
        payload: "lib.dll".into(),
        path: path.into(),
        descriptor: None,
        attributes: attributes::HIDDEN,
    };
    for path in [
        r"\Windows\..\..\x",
        SOFTWARE,
        r"\users\default\ntuser.dat",
        r"\Windows\a:b",
        r"\Windows\System32",
        "\\Windows\\x\0",
    ] {
        assert!(evil(link(path)).is_err(), "{path:?}");
    }
    assert!(evil(link(r"\Windows\fine.dll")).is_ok());
    let none = Change::Link { payload: "none".into(), path: r"\Windows\x".into(), descriptor: None, attributes: 0 };
    assert!(evil(none).is_err());
    for key in [r"HKEY_LOCAL_MACHINE\NONE\x", "HKEY_LOCAL_MACHINE", "x"] {
        assert!(evil(Change::Key { key: key.into(), descriptor: None }).is_err(), "{key}");
    }
    let mut component = versioned([1, 0, 0, 0], "x");
    component.keyform = r"..\..\x".into();
    assert!(put(&mut image(), &plan("P", vec![component]), NOW).is_err());
    let mut component = versioned([1, 0, 0, 0], "x");
    component.bundle = 7;
    assert!(put(&mut image(), &plan("P", vec![component]), NOW).is_err());
}

/// A part of another package, in a plan of both.
fn with_part(outer: &str, part: &str) -> Plan {
    let mut plan = plan(outer, vec![versioned([10, 0, 14393, 0], "x")]);
    let inner = self::plan(part, vec![component(&assembly(part, ""), &[])]);
    let places = plan.components.len();
    for mut component in inner.components {
        component.deployments = vec![places];
        plan.components.push(component);
    }
    let mut package = inner.packages.into_iter().next().unwrap();
    package.within = Some(0);
    package.updates[0].deployments = vec![places];
    plan.packages[0].updates[0].packages = vec![1];
    plan.packages.push(package);
    plan
}

#[test]
fn parts_go_with_the_last_package_that_has_them() {
    let mut tree = image();
    let before = (names(&tree), HIVES.map(|path| keys(&tree, path)));
    put(&mut tree, &with_part("First", "Part"), NOW).unwrap();
    let once = (names(&tree), HIVES.map(|path| keys(&tree, path)));
    let mut second = with_part("Second", "Part");
    second.packages[1].is_there = true;
    second.components.iter_mut().skip(1).for_each(|component| component.is_there = true);
    put(&mut tree, &second, NOW).unwrap();
    let part = identity("Part").package_id();
    let of_part = |name: &str| value(&tree, SOFTWARE, &format!(r"{SERVICING}\Packages\{part}{name}"), "Visibility");
    assert_eq!(of_part(""), Some(Value::dword(2)));
    let error = remove(&mut tree.clone(), "Part", None, LATER).unwrap_err();
    assert!(error.hint_text().unwrap().contains("First~"), "{error}");

    assert_eq!(remove(&mut tree, "Second", None, LATER).unwrap().packages, [identity("Second").package_id()]);
    assert_eq!(names(&tree), once.0);
    for (path, expected) in HIVES.iter().zip(&once.1) {
        assert_eq!(keys(&tree, path), *expected, "{path}");
    }
    assert_eq!(remove(&mut tree, "First", None, LATER).unwrap().packages, [identity("First").package_id(), part]);
    assert_eq!(names(&tree), before.0);
    for (path, expected) in HIVES.iter().zip(&before.1) {
        assert_eq!(keys(&tree, path), *expected, "{path}");
    }
}

#[test]
fn what_others_belong_to_stays() {
    let mut tree = image();
    put(&mut tree, &plan("Base", vec![versioned([10, 0, 14393, 0], "x")]), NOW).unwrap();
    let mut child = plan("Child", vec![component(&assembly("Own", ""), &[])]);
    let mum = String::from_utf8(child.packages[0].manifest.to_vec()).unwrap();
    let parent =
        format!("<parent integrate=\"separate\"><assemblyIdentity name=\"Base\" {IDENTITY}/></parent><update ");
    child.packages[0].manifest = mum.replace("<update ", &parent).into_bytes().into();
    put(&mut tree, &child, NOW).unwrap();
    let error = remove(&mut tree.clone(), "Base", None, LATER).unwrap_err();
    assert!(error.hint_text().unwrap().contains("Child~"), "{error}");
    remove(&mut tree, "Child", None, LATER).unwrap();
    remove(&mut tree, "Base", None, LATER).unwrap();
}

/// As Windows has put it in: nobody knows what was before.
#[test]
fn packages_of_windows_go_by_their_manifests() {
    let mut tree = image();
    put(&mut tree, &plan("Agent-Package", vec![agent("Agent")]), NOW).unwrap();
    let mut hive = read_hive(&tree, SOFTWARE).unwrap().unwrap();
    let account = hive.open("nanovhd").unwrap();
    hive.delete_key(account).unwrap();
    let node = tree.find(SOFTWARE).unwrap();
    tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
    let servicing = tree.find(r"\Windows\servicing").unwrap();
    tree.remove_tree(servicing, Name::from("nanovhd").units()).unwrap();
    let mut strange = tree.clone();
    remove(&mut tree, "Agent-Package", None, LATER).unwrap();
    assert!(tree.find(r"\Windows\System32\Agent").is_none() && tree.find(r"\Windows\System32\old.dll").is_none());
    assert_eq!(value(&tree, SOFTWARE, SVCHOST, "netsvcs"), Some(Value::multi_sz(["Themes"])));
    assert_eq!(value(&tree, SYSTEM, r"ControlSet001\Control\Thing", "Level"), None);
    let system = read_hive(&tree, SYSTEM).unwrap().unwrap();
    assert!(
        system.open(r"ControlSet001\Services\agent").is_none() && system.open(r"ControlSet001\Services\disk").is_some()
    );

    // What Windows did for an element that is not known here cannot be undone.
    let keyform = agent("Agent").keyform;
    let path = format!(r"\Windows\WinSxS\Manifests\{keyform}.manifest");
    let text = String::from_utf8(strange.read_file(&path).unwrap().unwrap()).unwrap();
    let node = strange.find(&path).unwrap();
    let text = text.replace(
        "<registryKeys>",
        "<genericCommands><genericCommand executableName=\"x.exe\"/></genericCommands><registryKeys>",
    );
    strange.node_mut(node).streams[0].content = Content::from(text.into_bytes());
    let error = remove(&mut strange, "Agent-Package", None, LATER).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.hint_text().unwrap().contains("dism /online"), "{error}");
}

#[test]
fn what_was_changed_since_stays() {
    let mut tree = image();
    put(&mut tree, &plan("Agent-Package", vec![agent("Agent")]), NOW).unwrap();
    let mut hive = read_hive(&tree, SYSTEM).unwrap().unwrap();
    let key = hive.open(r"ControlSet001\Control\Thing").unwrap();
    hive.set_value(key, "Level", Value::dword(77)).unwrap();
    let node = tree.find(SYSTEM).unwrap();
    tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
    let removed = remove(&mut tree, "Agent-Package", None, LATER).unwrap();
    assert_eq!(value(&tree, SYSTEM, r"ControlSet001\Control\Thing", "Level"), Some(Value::dword(77)));
    assert!(removed.warnings.iter().any(|text| text.contains("Level")), "{:?}", removed.warnings);
}

#[test]
fn winners_are_kept_where_the_image_has_them() {
    const WINNERS: &str = r"Microsoft\Windows\CurrentVersion\SideBySide\Winners";
    let mut tree = image();
    let (old, new) = (versioned([10, 0, 14393, 0], "old"), versioned([10, 0, 14393, 9], "new"));
    let key = format!(r"{WINNERS}\{}", old.identity.winners_keyform());
    let branch = format!(r"{key}\10.0");
    let mut hive = read_hive(&tree, SOFTWARE).unwrap().unwrap();
    let made = hive.create_key(&branch).unwrap();
    hive.set_value(made, "", Value::sz("10.0.14393.0")).unwrap();
    hive.set_value(made, "10.0.14393.0", Value::binary([1])).unwrap();
    let node = tree.find(SOFTWARE).unwrap();
    tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
    let before = keys(&tree, SOFTWARE);
    put(&mut tree, &plan("New-Package", vec![new, component(&assembly("Other", ""), &[])]), NOW).unwrap();
    assert_eq!(value(&tree, SOFTWARE, &branch, ""), Some(Value::sz("10.0.14393.9")));
    assert_eq!(value(&tree, SOFTWARE, &branch, "10.0.14393.9"), Some(Value::binary([1])));
    let other = format!(r"{WINNERS}\{}", identity("Other").winners_keyform());
    assert!(read_hive(&tree, SOFTWARE).unwrap().unwrap().open(&other).is_none(), "no sibling has one");
    remove(&mut tree, "New-Package", None, LATER).unwrap();
    assert_eq!(keys(&tree, SOFTWARE), before);
}

#[test]
fn keys_that_a_component_deletes_come_back() {
    let mut tree = image();
    let before = HIVES.map(|path| keys(&tree, path));
    let body = r#"<registryKeys><registryKey keyName="HKEY_LOCAL_MACHINE\SOFTWARE\Own"><registryValue name="a" valueType="REG_SZ" value="b"/></registryKey></registryKeys>"#;
    let mut own = component(&assembly("Own", body), &[]);
    let delete = vec![
        Change::DeleteValue {
            key: r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Thing".into(),
            name: "Level".into(),
        },
        Change::DeleteKey { key: r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\disk".into() },
    ];
    own.effects.push(Effect { kind: EffectKind::Registry, what: "deletions".into(), changes: delete.clone() });
    put(&mut tree, &plan("Own-Package", vec![own]), NOW).unwrap();
    assert!(read_hive(&tree, SYSTEM).unwrap().unwrap().open(r"ControlSet001\Services\disk").is_none());
    let compiled = |document: &Element, manifest: &Manifest| {
        let target = Target { machine: Machine::Amd64, language: "en-US".into(), lacks: [].into() };
        let mut effects = compile(document, manifest, &target)?.effects;
        if manifest.identity.name == "Own" {
            effects.push(Effect { kind: EffectKind::Registry, what: "deletions".into(), changes: delete.clone() });
        }
        Ok((effects, Vec::new()))
    };
    crate::windows::packages::remove::remove_by(&mut tree, "Own-Package", LATER, &compiled).unwrap();
    for (path, expected) in HIVES.iter().zip(&before) {
        assert_eq!(keys(&tree, path), *expected, "{path}");
    }
}

#[test]
fn a_driver_goes_into_the_driver_store_and_out_of_it() {
    let inf = "[Version]\nSignature=\"$WINDOWS NT$\"\nClass=System\nClassGuid={4d36e97d-e325-11ce-bfc1-08002be10318}\nProvider=%M%\n\
        DriverVer=01/02/2016,1.2.3.4\nCatalogFile=own.cat\n[Manufacturer]\n%M%=Models,NTamd64\n[Models.NTamd64]\n%D%=Install,ROOT\\own\n\
        [Install.NT]\nCopyFiles=Files\n[Install.NT.Services]\nAddService=own,2,Service\n[Service]\nServiceType=1\nStartType=3\n\
        ErrorControl=1\nServiceBinary=%12%\\own.sys\n[Files]\nown.sys\n[DestinationDirs]\nFiles=12\n[SourceDisksNames]\n1=x\n\
        [SourceDisksFiles]\nown.sys=1\n[Strings]\nM=\"Maker\"\nD=\"Device\"\n";
    let body = r#"<file name="own.inf"><infFile/></file><file name="own.sys"/>"#;
    let own = component(&assembly("dual_own.inf", body), &[("own.inf", inf), ("own.sys", "driver")]);
    let mut tree = image();
    let applied = put(&mut tree, &plan("Driver-Package", vec![own]), NOW).unwrap();
    assert_eq!(applied.drivers, ["oem0.inf"]);
    assert_eq!(tree.read_file(r"\Windows\System32\drivers\own.sys").unwrap().unwrap(), b"driver");
    assert_eq!(value(&tree, SYSTEM, r"ControlSet001\Services\own", "Start"), Some(Value::dword(3)));
    let removed = remove(&mut tree, "Driver-Package", None, LATER).unwrap();
    assert_eq!(removed.drivers, ["oem0.inf"]);
    assert!(tree.find(r"\Windows\System32\drivers\own.sys").is_none() && tree.find(r"\Windows\INF\oem0.inf").is_none());
}

#[test]
fn the_worst_signature_of_a_bundle_is_that_of_its_drivers() {
    use crate::windows::drivers::trust::{SignatureKind, score};
    use crate::windows::packages::{Bundle, bundle::tests::tree, verify};
    let identity = |name: &str| format!("<assemblyIdentity name=\"{name}\" {IDENTITY}/>");
    let nested = format!("<assembly>{}<package/></assembly>", identity("Nested"));
    let top = format!(
        "<assembly>{}<package><update name=\"u\"><package>{}</package></update></package></assembly>",
        identity("Top"),
        identity("Nested")
    );
    let nested_name = "Nested~31bf3856ad364e35~amd64~~10.0.14393.7.mum";
    let files = tree(&[("update.mum", top.as_bytes()), (nested_name, nested.as_bytes())]);
    let mut bundle = verify(Bundle::read("a.cab".into(), files).unwrap(), None).unwrap();
    let mut signed = |kinds: [SignatureKind; 2], issues: &[&str]| {
        for (package, kind) in bundle.packages.iter_mut().zip(kinds) {
            (package.kind, package.signer) = (kind, Some(format!("{kind:?}")));
        }
        bundle.issues = issues.iter().map(|issue| (*issue).to_owned()).collect();
        let Signature { signer, score } = Source::of(&bundle).signature;
        (signer, score)
    };
    use SignatureKind::{Attested, Microsoft, SelfMade, Windows};
    assert_eq!(signed([Windows, Windows], &[]), (Some("Windows".into()), score::INBOX));
    assert_eq!(signed([Windows, Microsoft], &[]), (Some("Microsoft".into()), score::UNCLASSIFIED));
    assert_eq!(signed([Attested, Windows], &[]), (Some("Attested".into()), score::WHQL));
    assert_eq!(signed([Windows, SelfMade], &[]), (None, score::UNSIGNED));
    assert_eq!(signed([Windows, Windows], &["a.dll: nobody says what its hash is"]), (None, score::UNSIGNED));
}
