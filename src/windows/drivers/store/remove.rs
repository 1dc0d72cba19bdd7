//! Taking a package out again.

use serde::Serialize;

use super::files::{CATALOGS, catalog_of};
use super::lockdown::{self, Locked};
use super::services::OWN_VALUES;
use super::{Added, SOFTWARE, SYSTEM, Store, folder_of, is_owner, path_of, texts};
use crate::base::near;
use crate::error::{Context, Error, Result};
use crate::format::hive::{KeyId, Value};
use crate::format::inf::Inf;
use crate::windows::drivers::database::layout::{OemInfMap, oem_number};
use crate::windows::drivers::database::{DATABASE, Database, Home};
use crate::windows::drivers::{INF_FOLDER, database_flag};
use crate::windows::hive_files::HiveFile;
use crate::windows::place::Access;

/// The bits of a value's type that are the type itself.
const TYPE: u32 = 0x0000_FFFF;
/// The flags of values that are added.
const ADDING: u32 = database_flag::NO_CLOBBER | database_flag::APPEND;

/// What became of a package that was taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Its published name, which is free now.
    pub published: String,
    /// The names of its folders in the driver store.
    pub packages: Vec<String>,
    /// Files and folders taken out of the tree, those below folders not counted.
    pub files: usize,
    /// Services that are gone.
    pub services: Vec<String>,
    /// What stays, and why.
    pub notes: Vec<String>,
}

impl Store<'_> {
    /// What the databases say now.
    pub fn database(&self) -> Database {
        let hive = |path: &str| self.hives.opened(path).map(HiveFile::hive);
        hive(SYSTEM).map(|system| Database::of_hives(system, hive(super::DRIVERS))).unwrap_or_default()
    }

    /// Takes out a package that adding put in, by its published name (`oem3.inf`).
    ///
    /// Services and files that other packages own too stay. A service's key stays with the values that no driver put there. Changes that
    /// the INF made elsewhere in the registry stay, as they do in Windows.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for a name that is not published, with those that are, and for packages that came with
    /// Windows.
    pub fn remove(&mut self, published: &str) -> Result<Removed> {
        let (home, packages) = self.packages_of(published)?;
        let mut removed = Removed { published: published.to_ascii_lowercase(), packages, ..Removed::default() };
        self.note_registry(&mut removed)?;
        self.remove_services(home, &mut removed)?;
        self.remove_copies(&mut removed)?;
        self.remove_records(home, &removed)?;
        self.remove_files(&mut removed)?;
        self.set_number(&removed.published, Some(home), OemInfMap::free)?;
        if let Some(number) = oem_number(&removed.published) {
            self.taken.remove(&number);
        }
        Ok(removed)
    }

    /// The packages of a published name, and the hive that they are in.
    fn packages_of(&self, published: &str) -> Result<(Home, Vec<String>)> {
        let database = self.database();
        let of_name = || database.packages().iter().filter(|own| own.published.eq_ignore_ascii_case(published));
        let mut third: Vec<&str> =
            database.packages().iter().filter(|own| !own.is_inbox).map(|own| own.published.as_str()).collect();
        third.sort_by_key(|name| oem_number(name));
        let all = if third.is_empty() {
            "nothing: no package was added to this Windows".to_owned()
        } else {
            third.join(", ")
        };
        let Some(first) = of_name().next() else {
            let error = Error::invalid("no such driver package").found(published);
            let near = near::nearest(published, third.iter().map(|name| (*name).to_owned()));
            return Err(match near::did_you_mean(&near) {
                Some(hint) if !near.is_empty() => error.allowed(all).hint(hint),
                _ => error.allowed(all).hint("`nanovhd drivers` lists the packages that were added"),
            });
        };
        if first.is_inbox || oem_number(published).is_none() {
            return Err(Error::invalid("a driver package that came with this Windows cannot be taken out")
                .found(published)
                .allowed(all));
        }
        let of_home = of_name().filter(|own| own.home == first.home);
        Ok((first.home, of_home.map(|own| own.package_name.clone()).collect()))
    }

    /// Says so if the INF changes the registry where nobody keeps account of it.
    fn note_registry(&self, removed: &mut Removed) -> Result<()> {
        let path = format!(r"{INF_FOLDER}\{}", removed.published);
        let Some(bytes) = self.tree.read_file(&path)? else { return Ok(()) };
        let Ok(inf) = Inf::parse(&bytes) else {
            removed.notes.push(format!("{path} cannot be read: what it changed elsewhere in the registry stays"));
            return Ok(());
        };
        let is_root = |field: &str| ["HKLM", "HKCR", "HKU"].iter().any(|root| field.eq_ignore_ascii_case(root));
        let entries = inf.sections().iter().flat_map(|section| &section.entries);
        let count = entries.filter(|entry| entry.key.is_none() && is_root(entry.field(0))).count();
        if count > 0 {
            removed.notes.push(format!(
                "the INF changes the registry outside devices and services, in lines that begin with HKLM and the like ({count}): that stays, \
                 as it does in Windows"
            ));
        }
        Ok(())
    }

    fn remove_services(&mut self, home: Home, removed: &mut Removed) -> Result<()> {
        let set = self.set;
        let given = self.given_values(home, removed);
        let mut orphans = Vec::new();
        let hive = self.hives.open(self.tree, SYSTEM)?;
        let Some(services) = hive.hive().subkey(set, "Services") else { return Ok(()) };
        let owned: Vec<(KeyId, Vec<String>)> = hive
            .hive()
            .subkeys(services)
            .map(|key| (key, texts(hive.hive(), key, "Owners")))
            .filter(|(_, owners)| owners.iter().any(|owner| owner.eq_ignore_ascii_case(&removed.published)))
            .collect();
        for (key, mut owners) in owned {
            let name = hive.hive().name(key).to_string();
            owners.retain(|owner| !owner.eq_ignore_ascii_case(&removed.published));
            if owners.iter().any(|owner| is_owner(owner)) {
                removed.notes.push(format!("service {name} stays: it belongs to {} too", owners.join(", ")));
                hive.set(key, "Owners", Value::multi_sz(&owners))?;
                if let Some(owner) = owners.iter().find(|owner| oem_number(owner).is_some()) {
                    orphans.push((name, owner.clone()));
                }
                continue;
            }
            remove_service(hive, services, key, &name, &given)?;
            match hive.hive().subkey(services, name.as_str()) {
                Some(_) => {
                    removed.notes.push(format!("the key of service {name} stays with values that no driver put there"))
                }
                None => removed.services.push(name),
            }
        }
        orphans.iter().try_for_each(|(name, owner)| self.give_back(name, owner, removed))
    }

    /// Sets a service as the package has it that owns it from now on.
    fn give_back(&mut self, name: &str, owner: &str, removed: &mut Removed) -> Result<()> {
        let Some(driver) = self.stored(owner)? else {
            removed
                .notes
                .push(format!("service {name} keeps the removed package's settings: that of {owner} cannot be read"));
            return Ok(());
        };
        let Some(service) = driver.services.iter().find(|service| service.name.eq_ignore_ascii_case(name)) else {
            return Ok(());
        };
        let mut added = Added { published: owner.to_owned(), ..Added::default() };
        self.put_service(service, &driver, &mut added).context(|| format!("service {name} of {owner}"))
    }

    /// Names of services and values that the packages' install sections give to the services' own keys.
    fn given_values(&self, home: Home, removed: &Removed) -> Vec<(String, String)> {
        let mut given = Vec::new();
        let Some(hive) = self.hives.opened(path_of(home)).map(HiveFile::hive) else { return given };
        for package in &removed.packages {
            let key = hive.open(DATABASE).and_then(|root| hive.subkey(root, "DriverPackages"));
            let configurations = key
                .and_then(|key| hive.subkey(key, package.as_str()))
                .and_then(|key| hive.subkey(key, "Configurations"));
            let services = configurations
                .into_iter()
                .flat_map(|key| hive.subkeys(key))
                .filter_map(|key| hive.subkey(key, "Services"))
                .flat_map(|key| hive.subkeys(key));
            for service in services {
                let values = hive.values(service).filter(|value| value.kind & !TYPE & !ADDING == 0);
                given.extend(values.map(|value| (hive.name(service).to_string(), value.name.to_string())));
            }
        }
        // Packages of DRIVERS have no configurations: their own INF files tell.
        let services = self.stored(&removed.published).ok().flatten().map(|driver| driver.services).unwrap_or_default();
        for service in &services {
            let own = service.values.iter().filter(|value| value.key.is_empty());
            given.extend(own.filter_map(|value| Some((service.name.clone(), value.value.as_ref()?.0.clone()))));
        }
        given
    }

    /// Files in place.
    fn remove_copies(&mut self, removed: &mut Removed) -> Result<()> {
        let software = self.hives.open(self.tree, SOFTWARE)?;
        for mut file in lockdown::owned(software.hive(), &removed.published) {
            file.owners.retain(|owner| !owner.eq_ignore_ascii_case(&removed.published));
            if file.owners.iter().any(|owner| is_owner(owner)) {
                self.leave_copy(&file, removed)?;
            } else {
                self.remove_copy(&file, removed)?;
            }
        }
        Ok(())
    }

    /// A file that others own too: if it is the removed package's, theirs takes its place.
    fn leave_copy(&mut self, file: &Locked, removed: &mut Removed) -> Result<()> {
        // The path within the package, if the file in place is the removed one's.
        let within = file.source.as_deref().and_then(|source| {
            removed.packages.iter().find_map(|package| {
                let folder = format!(r"{}\", folder_of(package));
                let start = source.get(..folder.len()).filter(|start| start.eq_ignore_ascii_case(&folder));
                start.and_then(|_| source.get(folder.len()..))
            })
        });
        let theirs = within.map(|path| self.other_source(path, &file.owners));
        if let Some(source) = &theirs {
            match source {
                Some(source) => {
                    let content = self.tree.find(source).and_then(|node| self.tree.node(node).main().cloned());
                    if let Some(content) = content {
                        self.put(&file.path, content, Access::Inherited)?;
                    }
                    let text = source.replacen(r"\Windows", "%SystemRoot%", 1);
                    let software = self.hives.open(self.tree, SOFTWARE)?;
                    software.set(file.key, "Source", Value::expand_sz(&text))?;
                    removed.notes.push(format!("{} is {} again", file.path, source));
                }
                None => removed
                    .notes
                    .push(format!("{} stays as it is: no other package has it in the driver store", file.path)),
            }
        } else {
            removed.notes.push(format!("{} stays: it belongs to {} too", file.path, file.owners.join(", ")));
        }
        let software = self.hives.open(self.tree, SOFTWARE)?;
        software.set(file.key, "Owners", Value::multi_sz(&file.owners))
    }

    /// Where another owner has a file in the driver store.
    fn other_source(&self, within: &str, owners: &[String]) -> Option<String> {
        owners.iter().find_map(|owner| {
            let (hive, package) = self.package_of(owner)?;
            let path = format!(r"{}\{within}", folder_of(&hive.name(package).to_string()));
            self.tree.find(&path).map(|_| path)
        })
    }

    /// A file that nobody else owns.
    fn remove_copy(&mut self, file: &Locked, removed: &mut Removed) -> Result<()> {
        let content = |path: &str| self.tree.find(path).and_then(|node| self.tree.node(node).main().cloned());
        let source = file.source.as_deref().and_then(content);
        let is_another = match (content(&file.path), &source) {
            (Some(there), Some(source)) => !self.same(&there, source).context(|| &file.path)?,
            _ => false,
        };
        let is_directory = self.tree.find(&file.path).is_some_and(|node| self.tree.node(node).is_directory());
        if is_another || is_directory {
            removed.notes.push(format!("{} stays: it is another file than the package's", file.path));
        } else {
            removed.files += usize::from(self.take(&file.path)?);
        }
        self.hives.open(self.tree, SOFTWARE)?.delete_key(file.key)
    }

    fn remove_records(&mut self, home: Home, removed: &Removed) -> Result<()> {
        let hive = self.hives.open(self.tree, path_of(home))?;
        let Some(root) = hive.hive().open(DATABASE) else { return Ok(()) };
        if let Some(ids) = hive.hive().subkey(root, "DeviceIds") {
            remove_claims(hive, ids, &removed.published)?;
        }
        let doomed =
            [("DriverInfFiles", std::slice::from_ref(&removed.published)), ("DriverPackages", &removed.packages)];
        for (folder, names) in doomed {
            for name in names {
                let key = hive.hive().subkey(root, folder).and_then(|key| hive.hive().subkey(key, name.as_str()));
                key.map_or(Ok(()), |key| hive.delete_key(key))?;
            }
        }
        Ok(())
    }

    fn remove_files(&mut self, removed: &mut Removed) -> Result<()> {
        let published = removed.published.clone();
        let compiled = format!(r"{INF_FOLDER}\{}pnf", published.strip_suffix("inf").unwrap_or(&published));
        let mut paths: Vec<String> = removed.packages.iter().map(|package| folder_of(package)).collect();
        paths.extend([
            format!(r"{INF_FOLDER}\{published}"),
            compiled,
            format!(r"{CATALOGS}\{}", catalog_of(&published)),
        ]);
        for path in paths {
            removed.files += usize::from(self.take(&path)?);
        }
        Ok(())
    }
}

/// Takes the values out of a service's key that a driver puts there, and all keys below it, which go with a service in Windows too; the
/// key itself where nothing is left. Its event log sources go with it.
fn remove_service(
    hive: &mut HiveFile,
    services: KeyId,
    key: KeyId,
    name: &str,
    given: &[(String, String)],
) -> Result<()> {
    for value in OWN_VALUES {
        hive.delete_value(key, value)?;
    }
    for (_, value) in given.iter().filter(|(service, _)| service.eq_ignore_ascii_case(name)) {
        hive.delete_value(key, value)?;
    }
    for below in hive.hive().subkeys(key).collect::<Vec<_>>() {
        hive.delete_key(below)?;
    }
    if hive.hive().values(key).next().is_none() {
        hive.delete_key(key)?;
    }
    let logs = hive.hive().subkey(services, "EventLog");
    let logs: Vec<KeyId> = logs.into_iter().flat_map(|logs| hive.hive().subkeys(logs)).collect();
    for log in logs {
        if let Some(source) = hive.hive().subkey(log, name) {
            hive.delete_key(source)?;
        }
    }
    Ok(())
}

/// Takes a published name out of all device ids, and the keys that are empty then.
fn remove_claims(hive: &mut HiveFile, ids: KeyId, published: &str) -> Result<()> {
    let mut claimed = Vec::new();
    let mut open = vec![ids];
    while let Some(key) = open.pop() {
        if hive.hive().value(key, published).is_some() {
            claimed.push(key);
        }
        open.extend(hive.hive().subkeys(key));
    }
    for key in claimed {
        hive.delete_value(key, published)?;
        hive.prune(key, ids)?;
    }
    Ok(())
}
