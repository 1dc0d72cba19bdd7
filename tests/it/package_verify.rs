//! Packages are what was signed: a real one, one that is made here, and both with one wrong byte.

use std::path::Path;
use std::sync::Arc;

use nanovhd::error::{Error, Kind};
use nanovhd::format::cab::Cabinet;
use nanovhd::tree::{Content, Link, Node, NodeId, Times, Tree};
use nanovhd::windows::drivers::trust::SignatureKind;
use nanovhd::windows::packages::{Bundle, Verified, base, verify};

use crate::support::packages::{Component, Files, Package};
use crate::support::tools::testdata;

const HASHES: &str = "$filehashes$.dat";

/// Files with their contents, to be shared by many trees.
type Shared = Vec<(String, Arc<[u8]>)>;

fn shared(files: &Files) -> Shared {
    files.0.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice().into())).collect()
}

fn tree(files: &Shared) -> Arc<Tree> {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    for (path, bytes) in files {
        let (folder, name) =
            path.rsplit_once('\\').map_or((None, path.as_str()), |(folder, name)| (Some(folder), name));
        let root = tree.root();
        let at = folder.map_or(root, |folder| tree.find(folder).unwrap_or_else(|| add(&mut tree, root, folder, None)));
        add(&mut tree, at, name, Some(Arc::clone(bytes)));
    }
    Arc::new(tree)
}

fn add(tree: &mut Tree, at: NodeId, name: &str, bytes: Option<Arc<[u8]>>) -> NodeId {
    let file = |bytes| Node::file(0, Times::default(), Content::Bytes(bytes));
    let node = bytes.map_or_else(|| Node::directory(0, Times::default()), file);
    let node = tree.add_node(node).unwrap();
    tree.add_link(at, Link { name: name.into(), short: None, node }).unwrap();
    node
}

fn check(files: &Shared, base: Option<&[u8]>) -> Result<Verified, Error> {
    verify(Bundle::read("made.cab".into(), tree(files))?, base)
}

/// One member with one bit of a byte changed.
fn flipped(files: &Shared, member: usize, at: usize) -> Shared {
    let mut files = files.clone();
    let mut bytes = files[member].1.to_vec();
    bytes[at] ^= 1;
    files[member].1 = bytes.into();
    files
}

/// The real package and what its manifests are packed against.
fn real() -> Option<(Arc<Tree>, Arc<[u8]>)> {
    let folder = Path::new("packages");
    let cabinet = testdata(folder.join("OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab"))?;
    let base = std::fs::read(testdata(folder.join("servicing-stack-base-manifest.xml"))?).unwrap();
    let cabinet = Cabinet::open(Arc::new(std::fs::read(cabinet).unwrap())).unwrap();
    let (tree, remarks) = cabinet.into_tree(|_| true).unwrap();
    assert!(remarks.is_empty(), "{remarks:?}");
    Some((Arc::new(tree), base::of_file(&base).unwrap()))
}

#[test]
fn a_real_package_is_what_microsoft_signed() {
    let Some((tree, base)) = real() else { return };
    let verified = verify(Bundle::read("OpenSSH".into(), tree).unwrap(), Some(&base)).unwrap();
    verified.verdict(false).unwrap();
    assert!(verified.issues.is_empty() && verified.remarks.is_empty(), "{:?} {:?}", verified.issues, verified.remarks);
    let tops: Vec<&str> = verified.top().map(|package| package.id.as_str()).collect();
    assert_eq!(tops, ["OpenSSH-Client-Package~31bf3856ad364e35~amd64~~10.0.19041.1"]);
    assert_eq!(verified.packages.len(), 4);
    for package in &verified.packages {
        assert_eq!((package.kind, package.signer.as_deref()), (SignatureKind::Windows, Some("Microsoft Windows")));
        assert_eq!(package.manifest.unread, [], "{}", package.id);
    }
    // Verified means that each keyform is that of the manifest's identity, and that each has its payload.
    assert_eq!(verified.manifests.len(), 6);
    assert!(verified.manifests.values().all(|manifest| manifest.missing.is_empty()));
    let payload = verified.manifests.values().map(|manifest| manifest.payload.len());
    assert_eq!((payload.sum::<usize>(), verified.bundle.payload.len()), (8, 8));
    let top = verified.top().next().unwrap();
    assert_eq!(
        (top.manifest.parents.len(), top.manifest.capabilities.as_slice()),
        (3, &["OpenSSH.Client~~~~0.0.1.0".to_owned()][..])
    );
    let packed = verify(verified.bundle, None).unwrap();
    assert_eq!((packed.unread.len(), packed.manifests.len()), (3, 3), "the plain ones are checked all the same");
    assert!(packed.unread.iter().all(|unread| unread.why.contains("--servicing-stack")));
}

#[test]
fn a_wrong_byte_in_a_real_package_is_refused_by_name() {
    let Some((tree, base)) = real() else { return };
    let mut files = Shared::new();
    tree.visit(|path, link| {
        if let Some(content) = tree.node(link.node).main() {
            files.push((path.trim_start_matches('\\').to_owned(), Arc::from(tree.read(content).unwrap())));
        }
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(files.len(), 25);
    check(&files, Some(&base)).unwrap();
    let is_payload = |name: &str| name.contains('\\');
    for (name, bytes) in &files {
        // Catalogs are in the list of hashes, which is all that speaks for their last bytes. What is between is what catalogs list, and payload what
        // manifests say: that has to hold without the list, and without what has nothing to do with it.
        let is_wanted = |other: &str| match name {
            _ if name == HASHES || name.ends_with(".cat") => true,
            _ if other == HASHES => false,
            _ if is_payload(name) => other == name || !(is_payload(other) || other.ends_with(".cat")),
            _ => !is_payload(other),
        };
        let some: Shared = files.iter().filter(|(other, _)| is_wanted(other)).cloned().collect();
        let member = some.iter().position(|(other, _)| other == name).unwrap();
        refused(&some, member, bytes.len() / 3, &base);
    }
}

fn refused(files: &Shared, member: usize, at: usize, base: &[u8]) {
    let name = &files[member].0;
    let error = check(&flipped(files, member, at), Some(base)).err().unwrap_or_else(|| panic!("{name} {at}"));
    let told = error.to_string().to_lowercase();
    // A catalog or manifest that is there twice is told under either name.
    let names = [
        name.to_lowercase(),
        name.replace("update", "OpenSSH-Client-Package~31bf3856ad364e35~amd64~~10.0.19041.1").to_lowercase(),
    ];
    let copy = name.contains("OpenSSH-Client-Package~").then(|| "update.".to_owned());
    assert!(names.iter().chain(&copy).any(|name| told.contains(name)), "{name} {at}: {error}");
}

fn made() -> Files {
    let nested = Package::new("Nested-Package")
        .update("Inner", &[Component::new("Inner").file("$(runtime.system32)", "inner.txt", b"inner")]);
    let component = Component::new("Outer").file("$(runtime.system32)", "outer.txt", b"some text").file(
        "$(runtime.drivers)",
        "outer.sys",
        &[7; 300],
    );
    Package::new("Outer-Package").update("Outer", &[component]).nests("Nested", &nested).files()
}

#[test]
fn a_made_package_holds_and_its_signer_is_told() {
    let verified = check(&shared(&made()), None).unwrap();
    assert_eq!((verified.packages.len(), verified.manifests.len()), (2, 4));
    let error = verified.verdict(false).unwrap_err();
    assert!(error.kind() == Kind::Unsupported && error.to_string().contains("Package Tests"), "{error}");
    assert!(error.hint_text().unwrap().contains("--allow-unsigned"));
    verified.verdict(true).unwrap();
    check(&shared(&made().with_hashes()), None).unwrap();
}

/// Manifests and payload; catalogs too, but for what no signature is over: numbers that nobody asks for, such as the version of the format.
#[test]
fn a_wrong_byte_in_a_made_package_is_refused() {
    let files = shared(&made());
    let before = check(&files, None).unwrap();
    let mut survived = 0;
    for (member, (name, bytes)) in files.iter().enumerate() {
        let is_catalog = name.ends_with(".cat");
        for at in (0..bytes.len()).step_by(if is_catalog { 31 } else { 61 }) {
            match check(&flipped(&files, member, at), None) {
                Err(error) => {
                    assert!(error.kind() == Kind::Corrupt || is_catalog, "{name} {at}: {error}");
                    let is_copy = name.starts_with("update.") || name.starts_with("Outer-Package");
                    assert!(
                        is_copy || error.to_string().to_lowercase().contains(&name.to_lowercase()),
                        "{name} {at}: {error}"
                    );
                }
                Ok(verified) => {
                    assert!(is_catalog, "{name} {at}");
                    survived += 1;
                    let kinds =
                        |verified: &Verified| verified.packages.iter().map(|package| package.kind).collect::<Vec<_>>();
                    assert_eq!(kinds(&verified), kinds(&before), "{name} {at}");
                }
            }
        }
    }
    assert!(survived <= 4, "{survived}");
}

#[test]
fn what_no_catalog_lists_is_refused() {
    let (files, other) = (made(), Package::new("Other-Package").update("Other", &[Component::new("Other")]).files());
    let mut more = files.clone();
    let (name, manifest) = other.0.iter().find(|(name, _)| name.starts_with("amd64_other_")).unwrap();
    more.0.insert(name.clone(), manifest.clone());
    let error = check(&shared(&more), None).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains(&name.to_lowercase()), "{error}");
    // The catalog of another package, signed by the same.
    let mut wrong = files.clone();
    let nested = wrong.0.keys().find(|name| name.starts_with("Nested") && name.ends_with(".cat")).unwrap().clone();
    wrong.0.insert(nested, other.0["update.cat"].clone());
    let error = check(&shared(&wrong), None).unwrap_err();
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("nested-package"), "{error}");
    // A package without any holds, but nobody vouches for it.
    let mut bare = files;
    bare.0.retain(|name, _| !name.ends_with(".cat"));
    let verified = check(&shared(&bare), None).unwrap();
    let error = verified.verdict(false).unwrap_err();
    assert!(error.to_string().contains("nobody has signed"), "{error}");
}
