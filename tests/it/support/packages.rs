//! Makes packages of Windows: documents, payload, catalogs, and what they come in. Names and hashes follow from formulas of its own.

mod identity;
mod medium;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) use identity::{Id, text_hash};
pub(crate) use medium::medium;

use super::catalog::{Identity, Order, Purpose, base64};

const ASSEMBLY: &str = "<assembly xmlns=\"urn:schemas-microsoft-com:asm.v3\" manifestVersion=\"1.0\" \
     copyright=\"Nobody\"";
const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\r\n";

/// A component: who it is, what it says, and its files.
#[derive(Clone)]
pub(crate) struct Component {
    pub(crate) id: Id,
    body: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Component {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(Id::component(name))
    }

    pub(crate) fn of(id: Id) -> Self {
        Self { id, body: String::new(), files: Vec::new() }
    }

    /// With more in its manifest.
    pub(crate) fn with(mut self, xml: &str) -> Self {
        let _ = write!(self.body, "  {xml}\r\n");
        self
    }

    /// With a file that goes to a folder.
    pub(crate) fn file(self, folder: &str, name: &str, bytes: &[u8]) -> Self {
        self.file_with(name, bytes, &format!("destinationPath=\"{folder}\""), "")
    }

    /// With a file, attributes of its element, and what is in that.
    pub(crate) fn file_with(self, name: &str, bytes: &[u8], attributes: &str, inside: &str) -> Self {
        let digest = base64(&Sha256::digest(bytes));
        let base = name.rsplit('\\').next().unwrap();
        let mut own = self.with(&format!(
            "<file name=\"{name}\" {attributes} sourceName=\"{base}\" importPath=\"$(build.nttree)\\\">{inside}\
             <asmv2:hash xmlns:asmv2=\"urn:schemas-microsoft-com:asm.v2\" xmlns:dsig=\"http://www.w3.org/2000/09/xmldsig#\">\
             <dsig:Transforms><dsig:Transform Algorithm=\"urn:schemas-microsoft-com:HashTransforms.Identity\" /></dsig:Transforms>\
             <dsig:DigestMethod Algorithm=\"http://www.w3.org/2000/09/xmldsig#sha256\" /><dsig:DigestValue>{digest}</dsig:DigestValue>\
             </asmv2:hash></file>"
        ));
        own.files.push((name.to_owned(), bytes.to_vec()));
        own
    }

    /// With another component that comes with it, or has to be there.
    pub(crate) fn needs(self, kind: &str, id: &Id) -> Self {
        self.with(&dependency(kind, id))
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> String {
        format!("{HEAD}{ASSEMBLY}>\r\n  {}\r\n{}</assembly>", self.id.xml(), self.body)
    }
}

fn dependency(kind: &str, id: &Id) -> String {
    let resources = if id.language == "*" { " resourceType=\"Resources\"" } else { "" };
    format!(
        "<dependency discoverable=\"no\"{resources}><dependentAssembly dependencyType=\"{kind}\">{}</dependentAssembly></dependency>",
        id.xml()
    )
}

/// A feature of a package.
#[derive(Clone, Default)]
struct Update {
    name: String,
    attributes: String,
    /// Components, which a deployment of the update's name brings.
    components: Vec<Component>,
    /// Components that come with others of the same update: their manifests, and nothing that asks for them directly.
    silent: Vec<Component>,
    xml: String,
}

/// A package, with those that are nested in it.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) id: Id,
    pub(crate) description: String,
    release_type: String,
    head: String,
    updates: Vec<Update>,
    nested: Vec<Package>,
    is_signed: bool,
}

impl Package {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(Id::package(name))
    }

    pub(crate) fn of(id: Id) -> Self {
        let release_type = if id.language == "neutral" { "Feature Pack" } else { "Language Pack" };
        Self {
            description: format!("A stand-in for {}", id.name),
            release_type: release_type.into(),
            head: String::new(),
            updates: Vec::new(),
            nested: Vec::new(),
            is_signed: true,
            id,
        }
    }

    /// For a part of Windows that has to be there.
    pub(crate) fn parent(self, id: &Id) -> Self {
        self.parents("integrate=\"separate\"", &[id])
    }

    pub(crate) fn parents(mut self, attributes: &str, ids: &[&Id]) -> Self {
        let ids: String = ids.iter().map(|id| id.xml()).collect();
        let _ = write!(self.head, "    <parent {attributes}>{ids}</parent>\r\n");
        self
    }

    /// Without catalogs, its own and those of packages within it.
    pub(crate) fn unsigned(mut self) -> Self {
        self.is_signed = false;
        self.nested = self.nested.into_iter().map(Self::unsigned).collect();
        self
    }

    /// With a feature of components.
    pub(crate) fn update(mut self, name: &str, components: &[Component]) -> Self {
        self.updates.push(Update { name: name.into(), components: components.to_vec(), ..Update::default() });
        self
    }

    /// With more in the last feature: `<selectable .../>`, attributes of `update`.
    pub(crate) fn says(mut self, attributes: &str, xml: &str) -> Self {
        let update = self.updates.last_mut().unwrap();
        update.attributes = format!(" {attributes}");
        update.xml.push_str(xml);
        self
    }

    /// With a driver component in a feature of its own.
    pub(crate) fn driver(mut self, name: &str, inf: &str, component: &Component) -> Self {
        let xml = format!(
            "<driver inf=\"{inf}\" ranking=\"FFFFFFFF\">{}</driver>",
            component.id.xml().replace("<assemblyIdentity", "<assemblyIdentity ")
        );
        self.updates.push(Update { name: name.into(), silent: vec![component.clone()], xml, ..Update::default() });
        self
    }

    /// With a package within it.
    pub(crate) fn nests(mut self, name: &str, package: &Package) -> Self {
        self = self.names_package(name, &package.id);
        self.nested.push(package.clone());
        self
    }

    /// The same for one that is not in the cabinet.
    pub(crate) fn names_package(mut self, name: &str, id: &Id) -> Self {
        let xml = format!("<package contained=\"false\" integrate=\"hidden\">{}</package>", id.xml());
        self.updates.push(Update { name: name.into(), xml, ..Update::default() });
        self
    }

    /// Its name, as files and keys have it.
    pub(crate) fn package_id(&self) -> String {
        self.id.package_id()
    }

    fn manifest(&self) -> String {
        let mut text = format!(
            "{HEAD}{ASSEMBLY} description=\"{}\" displayName=\"{}\">\r\n  {}\r\n  <package identifier=\"{}\" releaseType=\"{}\">\r\n{}",
            self.description,
            self.id.name,
            self.id.xml(),
            self.id.name,
            self.release_type,
            self.head
        );
        for update in &self.updates {
            let deployment = self.deployment(update);
            let component = deployment.map(|deployment| format!("<component>{}</component>", deployment.id.xml()));
            let (name, attributes) = (&update.name, &update.attributes);
            let component = component.unwrap_or_default();
            let _ = write!(text, "    <update name=\"{name}\"{attributes}>{component}{}</update>\r\n", update.xml);
        }
        text + "  </package>\r\n</assembly>"
    }

    fn deployment(&self, update: &Update) -> Option<Component> {
        let named = Id { name: format!("{}-Deployment", update.name), scope: Some("nonSxS"), ..self.id.clone() };
        let parts: String = update.components.iter().map(|part| dependency("install", &part.id)).collect();
        let deployment = "<deployment xmlns=\"urn:schemas-microsoft-com:asm.v3\" />";
        (!update.components.is_empty()).then(|| Component::of(named).with(deployment).with(&parts))
    }

    /// All files, by their paths with `\`.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::default();
        self.add_to(&mut files);
        for (copy, kind) in [("update.mum", "mum"), ("update.cat", "cat")] {
            if let Some(bytes) = files.0.get(&format!("{}.{kind}", self.package_id())).cloned() {
                files.0.insert(copy.into(), bytes);
            }
        }
        files
    }

    fn add_to(&self, files: &mut Files) {
        let id = self.package_id();
        let mut documents = BTreeMap::from([(format!("{id}.mum"), self.manifest().into_bytes())]);
        for update in &self.updates {
            let deployment = self.deployment(update);
            for component in update.components.iter().chain(&update.silent).chain(&deployment) {
                let keyform = component.id.keyform();
                for (name, bytes) in &component.files {
                    files.0.insert(format!(r"{keyform}\{name}"), bytes.clone());
                }
                documents.insert(format!("{keyform}.manifest"), component.manifest().into_bytes());
            }
        }
        if self.is_signed {
            let members: Vec<(&str, &[u8])> =
                documents.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            files.0.insert(format!("{id}.cat"), Order { files: &members, ..Order::default() }.sign(signer()));
        }
        files.0.extend(documents);
        self.nested.iter().for_each(|nested| nested.add_to(files));
    }
}

/// Whoever signs what is made here; nobody vouches for it.
fn signer() -> &'static Identity {
    static SIGNER: OnceLock<Identity> = OnceLock::new();
    SIGNER.get_or_init(|| Identity::own("Package Tests", Purpose::default()))
}

/// Files of a package, by their paths with `\`.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Files {
    /// What is in an unpacked package.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let mut files = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(at) = folders.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('/', "\\");
                    files.0.insert(name, fs::read(path).unwrap());
                }
            }
        }
        files
    }

    /// With a list of the files' hashes, as Windows Update's packages have.
    pub(crate) fn with_hashes(mut self) -> Self {
        let mut text = String::from("\u{feff}[sha1]\r\n");
        for (name, bytes) in &self.0 {
            let hash: String = Sha1::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect();
            let _ = write!(text, "{name}={hash},{:X}\r\n", bytes.len());
        }
        let bytes = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.0.insert("$filehashes$.dat".into(), bytes);
        self
    }

    /// As a folder.
    pub(crate) fn write(&self, folder: &Path) {
        for (name, bytes) in &self.0 {
            let path = folder.join(name.replace('\\', "/"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// As a cabinet of MSZIP.
    pub(crate) fn cabinet(&self) -> Vec<u8> {
        self.cabinet_of(cab::CompressionType::MsZip)
    }

    pub(crate) fn cabinet_of(&self, compression: cab::CompressionType) -> Vec<u8> {
        let mut builder = cab::CabinetBuilder::new();
        let folder = builder.add_folder(compression);
        for name in self.0.keys() {
            folder.add_file(name.clone());
        }
        let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
        while let Some(mut file) = writer.next_file().unwrap() {
            file.write_all(&self.0[file.file_name()]).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }
}

/// A stand-alone update: a cabinet with cabinets, and what Windows Update knows of them.
pub(crate) fn msu(cabinets: &[(&str, &Package)]) -> Vec<u8> {
    let mut files = Files::default();
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\r\n<servicing>\r\n",
    );
    for (name, package) in cabinets {
        files.0.insert((*name).into(), package.files().cabinet());
        let identity = package.id.xml();
        let _ = write!(
            xml,
            "<package action=\"install\">{identity}<source location=\"%configsetroot%\\{name}\" /></package>\r\n"
        );
    }
    xml.push_str("</servicing>\r\n</unattend>\r\n");
    files.0.insert("Windows10.0-KB0000000-x64.xml".into(), xml.into_bytes());
    files.0.insert("Windows10.0-KB0000000-x64-pkgProperties.txt".into(), b"KB Article Number=\"0000000\"\r\n".to_vec());
    let scan = Files(BTreeMap::from([("index.xml".to_owned(), b"<a/>".to_vec())]));
    files.0.insert("WSUSSCAN.cab".into(), scan.cabinet());
    files.cabinet()
}
