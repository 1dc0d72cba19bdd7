//! A Nano-like WIM made out of nothing, so that everything can be tried with nothing at hand.
//!
//! It has what the real one has, on a small scale: two images, the boot manager's files, hives with a boot template, a
//! component store whose files are hard links, drivers with their database, short names, named streams, reparse points, descriptors. Its boot manager is a
//! stand-in that reports how it was reached; its other programs are headers only.

mod drivers;
mod servicing;

use std::io::Cursor;
use std::num::NonZeroUsize;

use uuid::{Uuid, uuid};

use crate::base::security::{Descriptor, INHERIT, Sid, mask};
use crate::base::{FileTime, Name};
use crate::error::Result;
use crate::format::bcd;
use crate::format::hive::{Hive, Value};
use crate::format::wim;
use crate::tree::{Content, ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times, Tree, attributes};
use crate::windows::drivers::Home;
use servicing::Servicing;

/// The stand-in for Microsoft's boot manager: `templates/boot/standin.asm`.
pub const STAND_IN: &[u8] = include_bytes!("../../templates/boot/standin.bin");

/// The one for UEFI: `templates/boot/standin-efi.asm`.
pub const STAND_IN_EFI: &[u8] = include_bytes!("../../templates/boot/standin-efi.efi");

/// The image of the made WIM that the demo builds, by its edition.
pub const IMAGE: &str = "ServerDataCenterNano";

/// 2016-09-26 12:00 UTC, the day on which Nano Server was announced as finished.
const MADE: FileTime = FileTime(131_193_648_000_000_000);

/// The number of amd64 in a WIM's XML, as in `GetNativeSystemInfo`.
const PROCESSOR_ARCHITECTURE_AMD64: u32 = 9;

/// The folder of Windows' own catalogs.
const CATALOGS: &str = "{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";

/// Drivers that no device asks for.
const OTHER_DRIVERS: [&str; 2] = ["partmgr", "Ntfs"];

/// The whole WIM, with LZX compression.
pub fn wim(threads: NonZeroUsize) -> Result<Vec<u8>> {
    let editions = [("ServerStandardNano", "SERVERSTANDARDNANO"), (IMAGE, "SERVERDATACENTERNANO")];
    let trees = editions.map(|(edition, _)| tree(edition));
    let mut images = Vec::new();
    for ((edition, name), tree) in editions.into_iter().zip(trees) {
        let info = wim::ImageInfo {
            name: Some(format!("nanovhd demo {name}")),
            description: Some("A stand-in for Nano Server, made by nanovhd".into()),
            display_name: Some("nanovhd demo".into()),
            edition: Some(edition.into()),
            flags: Some(edition.into()),
            architecture: Some(PROCESSOR_ARCHITECTURE_AMD64),
            version: Some(wim::Version { major: 10, minor: 0, build: 14393, revision: 0, service_pack: 0 }),
            product_name: Some("nanovhd demo".into()),
            system_root: Some("WINDOWS".into()),
            installation_type: Some("Nano Server".into()),
            languages: vec!["en-US".into()],
            default_language: Some("en-US".into()),
            created: Some(MADE),
            modified: Some(MADE),
            ..wim::ImageInfo::default()
        };
        images.push((tree?, info));
    }
    let images: Vec<_> = images.iter().map(|(tree, info)| (tree, info.clone())).collect();
    let options = wim::Options {
        compression: wim::Compression::Lzx,
        chunk_size: 1 << 15,
        guid: Uuid::from_bytes(*b"nanovhd demo WIM"),
        boot_index: None,
        integrity: true,
        threads,
    };
    let mut bytes = Cursor::new(Vec::new());
    wim::write(&mut bytes, &images, &options)?;
    Ok(bytes.into_inner())
}

/// The files of an image of that edition.
pub(super) fn tree(edition: &str) -> Result<Tree> {
    let mut demo = Builder::new();
    let servicing = Servicing::new();
    demo.boot_files()?;
    demo.driver_store()?;
    demo.hives(edition, &servicing)?;
    demo.component_store(servicing)?;
    demo.users()?;
    demo.oddities()?;
    Ok(demo.tree)
}

struct Builder {
    tree: Tree,
}

impl Builder {
    fn new() -> Self {
        let mut tree = Tree::new(Node::directory(attributes::HIDDEN | attributes::SYSTEM, Times::all(MADE)));
        let everyone_reads = [
            (Sid::LOCAL_SYSTEM, mask::FULL, INHERIT),
            (Sid::ADMINISTRATORS, mask::FULL, INHERIT),
            (Sid::USERS, mask::READ_AND_RUN, INHERIT),
        ];
        let descriptor = Descriptor {
            owner: Sid::TRUSTED_INSTALLER,
            group: Sid::TRUSTED_INSTALLER,
            protected: true,
            allow: &everyone_reads,
        };
        let id = tree.add_descriptor(&descriptor.to_bytes());
        tree.node_mut(tree.root()).descriptor = Some(id);
        Self { tree }
    }

    /// The directory at a path, made where it is not there, with the descriptor of its parent.
    fn directory(&mut self, path: &str) -> Result<NodeId> {
        let mut at = self.tree.root();
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            at = match self.tree.child(at, Name::from(part).units()) {
                Some(link) => link.node,
                None => self.add(at, part, Node::directory(0, Times::all(MADE)))?,
            };
        }
        Ok(at)
    }

    /// A node under a name, with a short name if the name needs one and its directory's descriptor if it has none.
    fn add(&mut self, directory: NodeId, name: &str, mut node: Node) -> Result<NodeId> {
        node.descriptor = node.descriptor.or(self.tree.node(directory).descriptor);
        let node = self.tree.add_node(node)?;
        self.link(directory, name, node)?;
        Ok(node)
    }

    fn link(&mut self, directory: NodeId, name: &str, node: NodeId) -> Result<()> {
        // NTFS gives a short name to one link of a file only.
        let first = self.tree.node(node).links() == 0;
        let short = if first { self.short_name(directory, name) } else { None };
        self.tree.add_link(directory, Link { name: name.into(), short, node })
    }

    fn file(&mut self, path: &str, content: impl Into<Content>) -> Result<NodeId> {
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let directory = self.directory(folder)?;
        self.add(directory, name, Node::file(attributes::ARCHIVE, Times::all(MADE), content.into()))
    }

    /// A free 8.3 name in the manner of Windows (`PROGRA~1`), or none if the name is one itself.
    fn short_name(&self, directory: NodeId, name: &str) -> Option<Name> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let legal = |text: &str, room: usize| {
            text.chars()
                .filter(|c| c.is_ascii_alphanumeric() || "_-$".contains(*c))
                .take(room)
                .collect::<String>()
                .to_ascii_uppercase()
        };
        let fits = stem.len() <= 8
            && extension.len() <= 3
            && legal(stem, 9).len() == stem.len()
            && legal(extension, 4).len() == extension.len();
        if fits {
            return None;
        }
        let (stem, extension) = (legal(stem, 6), legal(extension, 3));
        (1..)
            .map(|number| format!("{}~{number}", &stem[..stem.len().min(7 - number.to_string().len())]))
            .map(|stem| if extension.is_empty() { stem } else { format!("{stem}.{extension}") })
            .map(|short| Name::from(short.as_str()))
            .find(|short| self.tree.child(directory, short.units()).is_none())
    }

    fn boot_files(&mut self) -> Result<()> {
        let pcat = r"Windows\Boot\PCAT";
        self.file(&format!(r"{pcat}\bootmgr"), STAND_IN.to_vec())?;
        self.file(&format!(r"{pcat}\bootnxt"), vec![0])?;
        self.file(&format!(r"{pcat}\memtest.exe"), program("a stand-in for the memory diagnostic"))?;
        self.file(&format!(r"{pcat}\en-US\bootmgr.exe.mui"), filler("bootmgr.exe.mui", 40_000))?;
        self.file(&format!(r"{pcat}\en-US\memtest.exe.mui"), filler("memtest.exe.mui", 30_000))?;
        let efi = r"Windows\Boot\EFI";
        self.file(&format!(r"{efi}\bootmgfw.efi"), STAND_IN_EFI.to_vec())?;
        self.file(&format!(r"{efi}\memtest.efi"), program("a stand-in for the memory diagnostic"))?;
        self.file(&format!(r"{efi}\en-US\bootmgfw.efi.mui"), filler("bootmgfw.efi.mui", 40_000))?;
        self.file(&format!(r"{efi}\en-US\memtest.efi.mui"), filler("memtest.efi.mui", 30_000))?;
        self.file(r"Windows\Boot\Fonts\wgl4_boot.ttf", filler("wgl4_boot.ttf", 46_000))?;
        self.file(r"Windows\Boot\Resources\bootres.dll", program("a stand-in for the boot resources"))?;
        self.file(r"Windows\System32\boot\winload.exe", program("a stand-in for the loader"))?;
        self.file(r"Windows\System32\winresume.exe", program("a stand-in for the resume loader"))?;
        self.file(r"Windows\System32\boot\winload.efi", program("a stand-in for the loader"))?;
        self.file(r"Windows\System32\winresume.efi", program("a stand-in for the resume loader"))?;
        self.file(r"Windows\System32\ntoskrnl.exe", program("a stand-in for the kernel"))?;
        for driver in OTHER_DRIVERS {
            self.file(&format!(r"Windows\System32\drivers\{driver}.sys"), program("a stand-in for a driver"))?;
        }
        Ok(())
    }

    /// Packages of the driver store, and copies of what runs and of the INF files where Windows looks for them.
    fn driver_store(&mut self) -> Result<()> {
        for package in &drivers::PACKAGES {
            let folder = format!(r"Windows\System32\DriverStore\FileRepository\{}", package.folder());
            for place in [folder.as_str(), r"Windows\INF"] {
                self.file(&format!(r"{place}\{}", package.inf_name()), package.inf_text().into_bytes())?;
            }
            for service in package.services() {
                for place in [folder.as_str(), r"Windows\System32\drivers"] {
                    self.file(&format!(r"{place}\{service}.sys"), program("a stand-in for a driver"))?;
                }
            }
        }
        Ok(())
    }

    fn hives(&mut self, edition: &str, servicing: &Servicing) -> Result<()> {
        let hives = [
            ("SYSTEM", system_hive()?),
            ("SOFTWARE", software_hive(edition, servicing)?),
            ("COMPONENTS", servicing.hive()?),
            ("SAM", hive_of("SAM", [])?),
            ("SECURITY", hive_of("SECURITY", [])?),
            ("DEFAULT", hive_of("DEFAULT", [])?),
            ("DRIVERS", drivers_hive()?),
            ("BCD-Template", boot_template()?),
        ];
        for (name, hive) in hives {
            self.file(&format!(r"Windows\System32\config\{name}"), hive.to_bytes()?)?;
        }
        Ok(())
    }

    /// Files that live in the store and are linked to where they are used, as servicing leaves them; the manifests of all that, and of
    /// the packages.
    fn component_store(&mut self, servicing: Servicing) -> Result<()> {
        let store = self.directory(r"Windows\WinSxS")?;
        let manifests = self.directory(r"Windows\WinSxS\Manifests")?;
        self.directory(r"Windows\WinSxS\Catalogs")?;
        self.directory(&format!(r"Windows\System32\CatRoot\{CATALOGS}"))?;
        let system = self.directory(r"Windows\System32")?;
        let drivers = self.directory(r"Windows\System32\drivers")?;
        let file = |time: u64, bytes: Vec<u8>| {
            Node::file(attributes::ARCHIVE, Times::all(FileTime(MADE.0 + time)), bytes.into())
        };
        for (number, component) in servicing.components.into_iter().enumerate() {
            let keyform = component.keyform();
            self.add(manifests, &format!("{keyform}.manifest"), file(0, component.manifest.into_bytes()))?;
            let Some(own) = component.file else { continue };
            let folder = self.add(store, &keyform, Node::directory(0, Times::all(MADE)))?;
            let node = self.add(folder, &own.name, file(number as u64, own.bytes))?;
            self.link(if own.is_driver { drivers } else { system }, &own.name, node)?;
        }
        for package in servicing.packages {
            self.file(&format!(r"Windows\servicing\Packages\{}.mum", package.id()), package.manifest.into_bytes())?;
        }
        self.file(r"Windows\System32\Dism.exe", program("a stand-in for the servicing program"))?;
        self.directory(r"Windows\System32\Tasks")?;
        Ok(())
    }

    fn users(&mut self) -> Result<()> {
        let own = [(Sid::LOCAL_SYSTEM, mask::FULL, INHERIT), (Sid::ADMINISTRATORS, mask::FULL, INHERIT)];
        let descriptor =
            Descriptor { owner: Sid::ADMINISTRATORS, group: Sid::LOCAL_SYSTEM, protected: true, allow: &own };
        let private = self.tree.add_descriptor(&descriptor.to_bytes());
        let administrator = self.directory(r"Users\Administrator")?;
        self.tree.node_mut(administrator).descriptor = Some(private);
        self.file(r"Users\Administrator\Desktop\Grüße.txt", b"Hello from nanovhd\r\n".to_vec())?;
        self.directory(r"Users\Public")?;
        self.file(r"Users\Default\NTUSER.DAT", hive_of("NTUSER.DAT", [])?.to_bytes()?)?;
        self.directory("Program Files")?;
        self.directory("Program Files (x86)")?;
        let mut junction = Node::directory(
            attributes::HIDDEN | attributes::SYSTEM | attributes::NOT_CONTENT_INDEXED | attributes::REPARSE_POINT,
            Times::all(MADE),
        );
        junction.reparse = Some(mount_point(r"C:\Users"));
        self.add(self.tree.root(), "Documents and Settings", junction)?;
        Ok(())
    }

    /// One of each thing that a volume can carry.
    fn oddities(&mut self) -> Result<()> {
        let streams = self.file(r"ProgramData\nanovhd\streams.txt", b"The main stream.\r\n".to_vec())?;
        self.tree.node_mut(streams).streams.push(Stream {
            name: "Zone.Identifier".into(),
            content: b"[ZoneTransfer]\r\nZoneId=3\r\n".to_vec().into(),
            sparse: false,
        });
        let with_id = self.file(r"ProgramData\nanovhd\object-id.txt", b"I have an object id.\r\n".to_vec())?;
        self.tree.node_mut(with_id).object_id =
            Some(Uuid::from_u128(0x6e61_6e6f_7668_6440_8000_0000_0000_0001).to_bytes_le().into());
        let extended = self.file(r"ProgramData\nanovhd\extended.txt", b"I have extended attributes.\r\n".to_vec())?;
        self.tree.node_mut(extended).extended =
            vec![ExtendedAttribute { flags: 0, name: (*b"NANOVHD.DEMO").into(), value: (*b"value").into() }];
        self.file(r"ProgramData\nanovhd\empty", Vec::new())?;
        self.file(r"ProgramData\nanovhd\read-only.bin", filler("read-only", 1 << 20))
            .map(|node| self.tree.node_mut(node).attributes |= attributes::READ_ONLY)
    }
}

/// A mount point's data (MS-FSCC 2.1.2.5): offsets and lengths of both names, then the names, each with a NUL.
fn mount_point(target: &str) -> Reparse {
    const IO_REPARSE_TAG_MOUNT_POINT: u32 = 0xA000_0003;
    let substitute = Name::from(format!(r"\??\{target}").as_str()).to_le_bytes();
    let print = Name::from(target).to_le_bytes();
    let mut data = Vec::new();
    for number in [0, substitute.len(), substitute.len() + 2, print.len()] {
        data.extend((number as u16).to_le_bytes());
    }
    data.extend(substitute);
    data.extend([0, 0]);
    data.extend(print);
    data.extend([0, 0]);
    Reparse { tag: IO_REPARSE_TAG_MOUNT_POINT, data: data.into() }
}

/// A hive of keys (by path), value names and values.
fn hive_of(name: &str, values: impl IntoIterator<Item = (String, &'static str, Value)>) -> Result<Hive> {
    let mut hive = Hive::new(name, MADE)?;
    for (path, name, value) in values {
        let key = hive.create_key(&path)?;
        hive.set_value(key, name, value)?;
    }
    Ok(hive)
}

fn system_hive() -> Result<Hive> {
    let select = [("Current", 1), ("Default", 1), ("Failed", 0), ("LastKnownGood", 1)];
    let select = select.map(|(name, set)| ("Select".to_owned(), name, Value::dword(set)));
    let control = |path: &str| format!(r"ControlSet001\Control\{path}");
    let identity = [
        (control(r"ComputerName\ComputerName"), "ComputerName", Value::sz("NANOVHD-DEMO")),
        (control("ProductOptions"), "ProductType", Value::sz("ServerNT")),
    ];
    let classes = drivers::CLASSES.into_iter().flat_map(|class| {
        let key = control(&format!(r"Class\{}", class.guid.braced()));
        let filters = (!class.upper_filters.is_empty()).then(|| ("UpperFilters", Value::multi_sz(class.upper_filters)));
        let values = std::iter::once(("Class", Value::sz(class.name))).chain(filters);
        values.map(move |(name, value)| (key.clone(), name, value))
    });
    let of_devices = drivers::PACKAGES.iter().flat_map(drivers::Package::services);
    let services = of_devices.chain(OTHER_DRIVERS).flat_map(|driver| {
        let values = [
            ("ImagePath", Value::expand_sz(&format!(r"System32\drivers\{driver}.sys"))),
            ("Start", Value::dword(drivers::start(driver))),
            ("Type", Value::dword(1)),
            ("ErrorControl", Value::dword(3)),
        ];
        values.map(|(name, value)| (format!(r"ControlSet001\Services\{driver}"), name, value))
    });
    let environment = control(r"Session Manager\Environment");
    let policy = r"ControlSet001\Services\SharedAccess\Parameters\FirewallPolicy";
    let others = [
        (
            environment.clone(),
            "Path",
            Value::expand_sz(r"%SystemRoot%\system32;%SystemRoot%;%SystemRoot%\System32\Wbem"),
        ),
        (environment, "PATHEXT", Value::sz(".COM;.EXE;.BAT;.CMD")),
        (policy.to_owned(), "PolicyVersion", Value::dword(0x021A)),
        (
            format!(r"{policy}\FirewallRules"),
            "nanovhd-demo-In-TCP",
            Value::sz("v2.26|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=7|Name=nanovhd demo|"),
        ),
    ];
    let values = select.into_iter().chain(identity).chain(classes).chain(services).chain(others);
    let mut hive = hive_of("SYSTEM", values)?;
    drivers::record(&mut hive, Home::System)?;
    Ok(hive)
}

fn drivers_hive() -> Result<Hive> {
    let mut hive = Hive::new("DRIVERS", MADE)?;
    drivers::record(&mut hive, Home::Drivers)?;
    Ok(hive)
}

fn software_hive(edition: &str, servicing: &Servicing) -> Result<Hive> {
    const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";
    let texts = [
        ("ProductName", "nanovhd demo"),
        ("EditionID", edition),
        ("InstallationType", "Nano Server"),
        ("CurrentBuild", "14393"),
        ("CurrentBuildNumber", "14393"),
        ("CurrentVersion", "6.3"),
    ];
    let about = texts.map(|(name, text)| (VERSION.to_owned(), name, Value::sz(text)));
    let major = (VERSION.to_owned(), "CurrentMajorVersionNumber", Value::dword(10));
    let groups = [
        ("LocalService", &["EventLog", "nsi", "WinHttpAutoProxySvc"][..]),
        ("LocalSystemNetworkRestricted", &["Netman", "NcbService"][..]),
        ("netsvcs", &["Winmgmt", "Schedule", "BITS"][..]),
        ("NetworkService", &["Dnscache", "WinRM"][..]),
    ];
    let groups = groups.map(|(name, services)| (format!(r"{VERSION}\SvcHost"), name, Value::multi_sz(services)));
    let mut hive = hive_of("SOFTWARE", about.into_iter().chain([major]).chain(groups))?;
    let empty = [
        r"Microsoft\Windows\CurrentVersion\WINEVT\Channels",
        r"Microsoft\Windows\CurrentVersion\WINEVT\Publishers",
        r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tasks",
        r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tree",
    ];
    for key in empty {
        hive.create_key(key)?;
    }
    servicing.record(&mut hive)?;
    Ok(hive)
}

/// The boot template that tells where the loader is, as the one in Nano Server does.
fn boot_template() -> Result<Hive> {
    const OS_LOADER: u32 = 0x1020_0003;
    const NX: u32 = 0x2500_0020;
    const OPT_OUT: u64 = 1; // data execution prevention, as servers have it
    // The objects from which bcdboot makes the loader's, by firmware.
    let loaders = [
        (uuid!("a1943bbc-ea85-487c-97c7-c9ede908a38a"), r"\system32\boot\winload.exe"),
        (uuid!("b012b84d-c47c-4ed5-b722-c0c42163e569"), r"\system32\boot\winload.efi"),
    ];
    let mut store = bcd::Store { root: "System".into(), ..bcd::Store::default() };
    for (id, path) in loaders {
        let mut loader = bcd::Object::new(OS_LOADER);
        loader.elements.insert(bcd::code::APPLICATION_RELATIVE_PATH, bcd::Element::String(path.into()));
        loader.elements.insert(NX, bcd::Element::Integer(OPT_OUT));
        store.objects.insert(id, loader);
    }
    store.to_hive(MADE)
}

/// The headers of an amd64 program and a sentence: enough to be recognised, nothing to run.
fn program(says: &str) -> Vec<u8> {
    const PE: usize = 0x80;
    let mut image = vec![0; 0x400];
    image[..2].copy_from_slice(b"MZ");
    image[0x3C] = PE as u8;
    image[PE..PE + 4].copy_from_slice(b"PE\0\0");
    image[PE + 4..PE + 6].copy_from_slice(&0x8664u16.to_le_bytes());
    image.extend(says.as_bytes());
    image
}

/// Bytes that compress about as well as programs do: words out of a small pool, steered by `name`.
fn filler(name: &str, len: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0, |state, byte| hash(state ^ u64::from(byte)));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = hash(state);
        let word = hash(state & 0xFF).to_le_bytes();
        bytes.extend(&word[..1 + (state >> 61) as usize]);
    }
    bytes.truncate(len);
    bytes
}

/// The finalizer of SplitMix64: scrambles a number.
fn hash(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
