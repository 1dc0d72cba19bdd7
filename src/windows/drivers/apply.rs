//! Packages into a Windows, and out of it: compiled, their signatures looked at, put into the store.

use std::fmt;

use serde::Serialize;

use super::{Note, Package, Removed, Store, TargetOs, trust};
use crate::base::FileTime;
use crate::error::{Context, Result};
use crate::tree::Tree;
use crate::windows::regedit;

/// What is asked for.
pub struct Request<'a> {
    /// Published names of packages that go, before any comes: `oem3.inf`.
    pub remove: &'a [String],
    /// The packages for a Windows: asked for when it is known which that is.
    pub packages: &'a mut dyn FnMut(&TargetOs) -> Result<Vec<Package>>,
    /// Whether packages are taken whose signature is not enough.
    pub allow_unsigned: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The packages that went.
    pub removed: Vec<Removed>,
    /// Those that came, in their order.
    pub added: Vec<NewPackage>,
    /// The hives that changed.
    pub hives: Vec<regedit::Changed>,
    /// What a user should know.
    pub warnings: Vec<String>,
    /// Whether this Windows loads the drivers only when it is set to test signing.
    pub needs_test_signing: bool,
}

/// A package that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewPackage {
    /// Where it came from.
    pub source: String,
    /// Its INF file there.
    pub inf: String,
    /// Its INF file in the image: `oem0.inf`.
    pub published: String,
    /// Its folder in the driver store.
    pub package: String,
    /// Its class: `Net`.
    pub class: String,
    /// Who gives it out.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// How many ids of devices it has.
    pub devices: usize,
    /// Who signed it.
    pub signer: Option<String>,
    /// Whether it was there before.
    pub already: bool,
    /// What of its INF file Windows does itself when it finds the device, each with its line.
    pub left_to_windows: Vec<String>,
}

impl fmt::Display for NewPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, inf, published, class, version, devices, left_to_windows, .. } = self;
        let ids = if *devices == 1 { "id" } else { "ids" };
        write!(f, "driver {source}\\{inf} as {published}: {class} {version}, {devices} {ids} of devices, ")?;
        match &self.signer {
            Some(signer) => write!(f, "signed by {signer}")?,
            None => f.write_str("signed by nobody who counts")?,
        }
        match left_to_windows.len() {
            0 => {}
            1 => f.write_str("; 1 directive is left to Windows, which reads it when it finds the device")?,
            count => write!(f, "; {count} directives are left to Windows, which reads them when it finds the device")?,
        }
        if self.already { f.write_str(" (was there already)") } else { Ok(()) }
    }
}

/// Does what is asked for. What changes is made at `now`. After an error the tree is of no use.
///
/// # Errors
/// Those of [`Store::open`], of what gives the packages, of [`Store::compile`] and [`trust::check`], of [`Store::add`] and [`Store::remove`];
/// [`Unsupported`](crate::error::Kind::Unsupported) and [`Corrupt`](crate::error::Kind::Corrupt) for packages whose signature is not enough.
pub fn apply(tree: &mut Tree, request: Request<'_>, now: FileTime) -> Result<Report> {
    let mut report = Report::default();
    let mut store = Store::open(tree, now)?;
    for published in request.remove {
        report.removed.push(store.remove(published)?);
    }
    let target = *store.target();
    for package in (request.packages)(&target)? {
        let name = format!(r"{}\{}", package.origin, package.inf_name());
        install(&mut store, &package, &target, request.allow_unsigned, &mut report).context(|| name)?;
    }
    report.warnings.extend(store.notes().iter().cloned());
    report.hives = store.commit()?;
    Ok(report)
}

fn install(
    store: &mut Store<'_>,
    package: &Package,
    target: &TargetOs,
    allow_unsigned: bool,
    report: &mut Report,
) -> Result<()> {
    let driver = store.compile(package)?;
    let trust = trust::check(package, &driver)?;
    if !allow_unsigned {
        trust.verdict()?;
    }
    report.needs_test_signing |= trust.needs_test_signing();
    let added = store.add(package, &driver, &trust.signature)?;
    let named = |text: &String| format!("{}: {text}", driver.inf_name);
    let (later, notes): (Vec<&Note>, Vec<&Note>) = driver.notes.iter().partition(|note| note.later);
    let lines = notes.iter().map(|note| format!("{}, line {}: {}", driver.inf_name, note.line, note.text));
    report.warnings.extend(lines);
    report.warnings.extend(trust.warnings(target).iter().map(named));
    report.warnings.extend(added.notes.iter().map(named));
    report.added.push(NewPackage {
        source: package.origin.clone(),
        inf: driver.inf_name.clone(),
        published: added.published,
        package: added.package_name,
        class: driver.class.clone(),
        provider: driver.provider.clone(),
        version: driver.version.to_string(),
        devices: driver.devices.len(),
        signer: trust.signature.signer.clone(),
        already: added.already,
        left_to_windows: later.iter().map(|note| format!("line {}: {}", note.line, note.text)).collect(),
    });
    Ok(())
}
