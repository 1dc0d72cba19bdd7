//! What was there before, and what others have a part in.

use super::*;
use crate::windows::packages::image::{Image, protected_file};
use crate::windows::place::{self, Access};

fn edit(tree: &mut Tree, path: &str, change: impl FnOnce(&mut Hive)) {
    let mut hive = read_hive(tree, path).unwrap().unwrap();
    change(&mut hive);
    let node = tree.find(path).unwrap();
    tree.node_mut(node).streams[0].content = Content::from(hive.to_bytes().unwrap());
}

fn set(tree: &mut Tree, path: &str, key: &str, name: &str, value: Value) {
    edit(tree, path, |hive| {
        let key = hive.create_key(key).unwrap();
        hive.set_value(key, name, value).unwrap();
    });
}

fn add_file(tree: &mut Tree, path: &str, bytes: &[u8], access: Access) {
    place::put(tree, path, Content::Bytes(bytes.into()), access, NOW).unwrap();
}

#[test]
fn a_package_that_was_there_and_that_nobody_owns_stays() {
    let mut tree = image();
    let part = format!(r"{SERVICING}\Packages\{}", identity("Part").package_id());
    set(&mut tree, SOFTWARE, &part, "CurrentState", Value::dword(0x70));
    let mut plan = with_part("First", "Part");
    plan.packages[1].is_there = true;
    put(&mut tree, &plan, NOW).unwrap();
    assert_eq!(remove(&mut tree, "First", None, LATER).unwrap().packages, [identity("First").package_id()]);
    assert_eq!(value(&tree, SOFTWARE, &part, "CurrentState"), Some(Value::dword(0x70)));
}

#[test]
fn a_package_of_which_a_part_is_installed_keeps_what_is_on() {
    let mut tree = image();
    let key = format!(r"{SERVICING}\Packages\{}", identity("Half").package_id());
    set(&mut tree, SOFTWARE, &key, "CurrentState", Value::dword(0x65));
    set(&mut tree, SOFTWARE, &format!(r"{key}\Updates"), "More", Value::dword(0x70));
    let mut plan = plan("Half", vec![]);
    let more =
        UpdatePlan { name: "More".into(), is_on: false, deployments: vec![], ..plan.packages[0].updates[0].clone() };
    plan.packages[0].updates.push(more);
    put(&mut tree, &plan, NOW).unwrap();
    let update = |name: &str| value(&tree, SOFTWARE, &format!(r"{key}\Updates"), name);
    assert_eq!((update("More"), update("On")), (Some(Value::dword(0x70)), Some(Value::dword(0x70))));
    assert_eq!(value(&tree, SOFTWARE, &key, "CurrentState"), Some(Value::dword(0x70)));
}

fn of_list(name: &str, kind: &str, text: &str) -> ComponentPlan {
    let body = format!(
        r#"<registryKeys><registryKey keyName="HKEY_LOCAL_MACHINE\SOFTWARE\Lists"><registryValue name="l" valueType="REG_MULTI_SZ" value="&quot;{text}&quot;" operationHint="{kind}"/></registryKey></registryKeys>"#
    );
    component(&assembly(name, &body), &[])
}

#[test]
fn lists_that_one_sets_and_another_joins() {
    let list = |tree: &Tree| value(tree, SOFTWARE, "Lists", "l");
    let (sets, joins) = (of_list("Sets", "replace", "a"), of_list("Joins", "append", "b"));
    for before in [None, Some("old")] {
        let mut clean = image();
        if let Some(before) = before {
            set(&mut clean, SOFTWARE, "Lists", "l", Value::multi_sz([before]));
        }
        let was = list(&clean);
        let mut tree = clean.clone();
        put(&mut tree, &plan("Sets-Package", vec![sets.clone()]), NOW).unwrap();
        put(&mut tree, &plan("Joins-Package", vec![joins.clone()]), NOW).unwrap();
        assert_eq!(list(&tree), Some(Value::multi_sz(["a", "b"])));
        remove(&mut tree, "Sets-Package", None, LATER).unwrap();
        assert_eq!(list(&tree), Some(Value::multi_sz(before.into_iter().chain(["b"]))));
        remove(&mut tree, "Joins-Package", None, LATER).unwrap();
        assert_eq!(list(&tree), was);

        let mut tree = clean.clone();
        put(&mut tree, &plan("Both-Package", vec![sets.clone(), joins.clone()]), NOW).unwrap();
        remove(&mut tree, "Both-Package", None, LATER).unwrap();
        assert_eq!(list(&tree), was);
    }
}

#[test]
fn what_was_only_staged_is_so_again() {
    const THING: &str = r"ControlSet001\Control\Thing";
    let mut tree = image();
    let body = r#"<registryKeys><registryKey keyName="HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Thing"><registryValue name="Level" valueType="REG_DWORD" value="0x00000005"/></registryKey></registryKeys>"#;
    let mut own = component(&assembly("Own", body), &[("a.dll", "x")]);
    let stager = plan("Stager", vec![own.clone()]);
    put(&mut tree, &stager, NOW).unwrap();
    set(&mut tree, SYSTEM, THING, "Level", Value::dword(3));
    let id = identity("Stager").package_id();
    set(&mut tree, SOFTWARE, &format!(r"{SERVICING}\Packages\{id}"), "CurrentState", Value::dword(0x40));
    edit(&mut tree, SOFTWARE, |hive| {
        let account = hive.open("nanovhd").unwrap();
        hive.delete_key(account).unwrap();
    });
    let deployment = stager.components[0].identity.deployment_keyform();
    edit(&mut tree, COMPONENTS, |hive| {
        let key = hive.open(&format!(r"CanonicalData\Deployments\{deployment}")).unwrap();
        hive.delete_value(key, crate::format::assembly::cbs_value_name('i', &id, "On").as_str()).unwrap();
    });
    let staged = names(&tree);

    own.is_there = true;
    let keyform = own.keyform.clone();
    // One brings it by a deployment of its own, the other by the one that is staged.
    let mut same = stager.clone();
    same.components.iter_mut().for_each(|component| component.is_there = true);
    same.packages[0].identity = identity("Installer");
    same.packages[0].manifest = String::from_utf8(stager.packages[0].manifest.to_vec())
        .unwrap()
        .replace("\"Stager\"", "\"Installer\"")
        .into_bytes()
        .into();
    for plan in [plan("Installer", vec![own]), same] {
        put(&mut tree, &plan, NOW).unwrap();
        assert_eq!(value(&tree, SYSTEM, THING, "Level"), Some(Value::dword(5)));
        let ours = value(&tree, SOFTWARE, r"nanovhd\Packages", "Components").unwrap();
        assert!(crate::windows::packages::image::texts(&ours).contains(&keyform));
        remove(&mut tree, "Installer", None, LATER).unwrap();
        assert_eq!(value(&tree, SYSTEM, THING, "Level"), Some(Value::dword(3)));
        assert_eq!(names(&tree), staged);
        let kept = format!(r"DerivedData\Components\{keyform}");
        assert!(value(&tree, COMPONENTS, &kept, &format!("c!{deployment}")).is_some());
    }
}

#[test]
fn users_have_hives_of_their_own() {
    const SYSTEM_ACCOUNT: &str = r"\Windows\System32\config\DEFAULT";
    let mut tree = image();
    add_file(&mut tree, SYSTEM_ACCOUNT, &hive("DEFAULT", &[("Console", "x", Value::dword(1))]), Access::Inherited);
    let mut image = Image::open(&mut tree, NOW).unwrap();
    for (key, hive) in [
        (r"HKEY_USERS\.DEFAULT\Console", SYSTEM_ACCOUNT),
        (r"HKU\S-1-5-18\Console", SYSTEM_ACCOUNT),
        (r"HKEY_CURRENT_USER\Console", USER),
        (r"HKEY_USERS\Default\Console", USER),
    ] {
        let place = image.locate(key).unwrap();
        assert_eq!((place.hive.as_str(), place.path.as_str()), (hive, "Console"), "{key}");
    }
}

#[test]
fn documents_have_the_descriptors_of_their_siblings() {
    let mut tree = image();
    let usual = tree.add_descriptor(b"of the siblings");
    add_file(&mut tree, r"\Windows\WinSxS\Manifests\x.manifest", b"x", Access::As(usual));
    let plan = plan("Agent-Package", vec![agent("Agent")]);
    put(&mut tree, &plan, NOW).unwrap();
    let descriptor = |path: &str| tree.node(tree.find(path).unwrap()).descriptor;
    let manifest = format!(r"\Windows\WinSxS\Manifests\{}.manifest", plan.components[1].keyform);
    assert_eq!(descriptor(&manifest), Some(usual));
    let mum = format!(r"\Windows\servicing\Packages\{}.mum", identity("Agent-Package").package_id());
    assert_eq!(tree.descriptors()[descriptor(&mum).unwrap().index()][..], protected_file());
}

#[test]
fn packages_of_a_language_and_of_any_language_belong_to_the_neutral_one() {
    let mut tree = image();
    put(&mut tree, &plan("Base", vec![]), NOW).unwrap();
    let refused = |mut tree: Tree, child: &str| {
        let base = identity("Base").package_id();
        let error = remove(&mut tree, &base, None, LATER).unwrap_err();
        assert!(error.hint_text().unwrap().contains(child), "{error}");
    };
    let mut language = plan("Base", vec![]);
    language.components.clear();
    language.packages[0].identity.language = "en-US".into();
    language.packages[0].updates[0].deployments.clear();
    let mut spoken = tree.clone();
    put(&mut spoken, &language, NOW).unwrap();
    refused(spoken, "~en-US~");

    let mut child = plan("Child", vec![]);
    let mum = String::from_utf8(child.packages[0].manifest.to_vec()).unwrap();
    let any = IDENTITY.replace("amd64", "*");
    let parent = format!("<parent integrate=\"separate\"><assemblyIdentity name=\"Base\" {any}/></parent><update ");
    child.packages[0].manifest = mum.replace("<update ", &parent).into_bytes().into();
    put(&mut tree, &child, NOW).unwrap();
    refused(tree, "Child~");
}

#[test]
fn files_of_others_in_directories_of_packages_come_back() {
    const MINE: &str = r"\Windows\System32\Agent\mine.dll";
    let mut tree = image();
    put(&mut tree, &plan("Agent-Package", vec![agent("Agent")]), NOW).unwrap();
    add_file(&mut tree, MINE, b"of the user", Access::Inherited);
    let body = r#"<file name="mine.dll" destinationPath="$(runtime.system32)\Agent\"/>"#;
    let own = component(&assembly("Own", body), &[("mine.dll", "of the package")]);
    put(&mut tree, &plan("Own-Package", vec![own]), NOW).unwrap();
    assert_eq!(tree.read_file(MINE).unwrap().unwrap(), b"of the package");
    remove(&mut tree, "Own-Package", None, LATER).unwrap();
    assert_eq!(tree.read_file(MINE).unwrap().unwrap(), b"of the user");
}

#[test]
fn a_service_that_starts_at_once_waits_no_longer() {
    const KEY: &str = r"ControlSet001\Services\late";
    let mut tree = image();
    set(&mut tree, SYSTEM, KEY, "DelayedAutoStart", Value::dword(1));
    let body = r#"<memberships><categoryMembership><id name="Microsoft.Windows.Categories.Services" version="10.0.14393.7" publicKeyToken="31bf3856ad364e35" typeName="Service"/>
        <categoryInstance subcategory="late"><serviceData name="late" start="auto" type="win32OwnProcess" imagePath="x.exe"/></categoryInstance></categoryMembership></memberships>"#;
    put(&mut tree, &plan("Late-Package", vec![component(&assembly("Late", body), &[])]), NOW).unwrap();
    assert_eq!(value(&tree, SYSTEM, KEY, "Start"), Some(Value::dword(2)));
    assert_eq!(value(&tree, SYSTEM, KEY, "DelayedAutoStart"), None);
    remove(&mut tree, "Late-Package", None, LATER).unwrap();
    assert_eq!(value(&tree, SYSTEM, KEY, "DelayedAutoStart"), Some(Value::dword(1)));
}
