//! What to type next, for each platform and package.

use super::super::Format;
use super::super::layout::Firmware;
use super::target::generation;
use super::{Compression, Controller, MachineFacts, Nic, Package, Platform, Provider};

/// Where the package is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// Its path.
    pub file: &'p str,
    /// The length of the file.
    pub bytes: u64,
    /// The catalog that lists it, if it is a box, and the name of the box in that.
    pub catalog: Option<(&'p str, &'p str)>,
    /// The container of the disk.
    pub format: Format,
    /// How the file is compressed as a whole.
    pub compression: Compression,
}

/// Quotes for the shell that will read it.
#[derive(Clone, Copy)]
enum Shell {
    Posix,
    PowerShell,
}

impl Shell {
    /// The shell of this host.
    const HERE: Self = if cfg!(windows) { Self::PowerShell } else { Self::Posix };

    fn quote(self, text: &str) -> String {
        let plain = |c: char| {
            c.is_ascii_alphanumeric() || "._-/:=+".contains(c) || (c == '\\' && matches!(self, Self::PowerShell))
        };
        if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
            return text.to_owned();
        }
        match self {
            Self::Posix => format!("'{}'", text.replace('\'', r"'\''")),
            // PowerShell takes the curly ones for the same character.
            Self::PowerShell => {
                let doubled = |c: char| {
                    if "'\u{2018}\u{2019}\u{201A}\u{201B}".contains(c) { format!("{c}{c}") } else { c.to_string() }
                };
                format!("'{}'", text.chars().map(doubled).collect::<String>())
            }
        }
    }

    /// A path, which is not to be taken for an option.
    fn path(self, path: &str) -> String {
        if path.starts_with('-') { self.quote(&format!("./{path}")) } else { self.quote(path) }
    }
}

/// The commands to run next, in their order. What nobody but the user knows stands in capital letters: the names of a resource group
/// or a host.
pub fn next_steps(package: Package, facts: &MachineFacts, place: &Place<'_>) -> Vec<String> {
    let mut steps = Vec::new();
    let mut file = place.file.to_owned();
    if let (Package::Plain, Some(undo)) = (package, place.compression.undone_by()) {
        steps.push(format!("{undo} {}", Shell::HERE.path(&file)));
        if let Some(plain) = place.compression.extension().and_then(|end| file.strip_suffix(&format!(".{end}"))) {
            file = plain.to_owned();
        }
    }
    steps.extend(match package {
        Package::Box => vagrant(facts, place),
        Package::Ova | Package::Plain => match Platform::of(facts.target) {
            Platform::HyperV => hyperv(facts, &file),
            Platform::VirtualBox if package == Package::Ova => virtualbox_ova(facts, &file),
            Platform::VirtualBox => virtualbox_disk(facts, &file),
            Platform::Azure => azure(facts, &file, place.bytes),
            Platform::Kvm => kvm(facts, &file, place.format),
            Platform::Vmware if package == Package::Ova => vmware_ova(facts, &file),
            Platform::Vmware => vmware_disk(facts, &file),
            Platform::Other => raw(facts, &file, place.format),
        },
    });
    steps
}

fn vagrant(facts: &MachineFacts, place: &Place<'_>) -> Vec<String> {
    let shell = Shell::HERE;
    let provider = Provider::of(facts.target).map_or("hyperv", |provider| provider.name());
    let name = shell.quote(place.catalog.map_or(&facts.name, |(_, name)| name));
    let add = match place.catalog {
        Some((catalog, _)) => format!("vagrant box add --provider {provider} {}", shell.path(catalog)),
        None => format!("vagrant box add --provider {provider} --name {name} {}", shell.path(place.file)),
    };
    vec![add, format!("vagrant init {name}"), format!("vagrant up --provider {provider}")]
}

fn hyperv(facts: &MachineFacts, file: &str) -> Vec<String> {
    let shell = Shell::PowerShell;
    let name = shell.quote(&facts.name);
    let generation = generation(facts.target);
    let mut steps = vec![format!(
        "New-VM -Name {name} -Generation {generation} -MemoryStartupBytes {}MB -VHDPath {} -SwitchName (Get-VMSwitch)[0].Name",
        facts.memory_mib,
        shell.path(file)
    )];
    if facts.cpus > 1 {
        steps.push(format!("Set-VMProcessor -VMName {name} -Count {}", facts.cpus));
    }
    if generation == 2 {
        let secure = if facts.secure_boot { "On" } else { "Off" };
        steps.push(format!("Set-VMFirmware -VMName {name} -EnableSecureBoot {secure}"));
    }
    steps.push(format!("Start-VM -Name {name}"));
    steps
}

fn virtualbox_ova(facts: &MachineFacts, file: &str) -> Vec<String> {
    let shell = Shell::HERE;
    let name = shell.quote(&facts.name);
    vec![
        format!("VBoxManage import {} --vsys 0 --vmname {name}", shell.path(file)),
        format!("VBoxManage startvm {name} --type headless"),
    ]
}

fn virtualbox_disk(facts: &MachineFacts, file: &str) -> Vec<String> {
    let shell = Shell::HERE;
    let (name, file) = (shell.quote(&facts.name), shell.path(file));
    let os = facts.os.names().virtualbox;
    let firmware = if facts.firmware == Firmware::Uefi { "efi" } else { "bios" };
    let nic = if facts.nic == Nic::Virtio { "virtio" } else { "82540EM" };
    vec![
        format!("VBoxManage createvm --name {name} --ostype {os} --register"),
        format!(
            "VBoxManage modifyvm {name} --memory {} --cpus {} --ioapic on --firmware {firmware} --nic1 nat --nictype1 {nic}",
            facts.memory_mib, facts.cpus
        ),
        format!("VBoxManage storagectl {name} --name SATA --add sata --controller IntelAhci --portcount 1"),
        format!("VBoxManage storageattach {name} --storagectl SATA --port 0 --device 0 --type hdd --medium {file}"),
        format!("VBoxManage startvm {name} --type headless"),
    ]
}

fn azure(facts: &MachineFacts, file: &str, bytes: u64) -> Vec<String> {
    let shell = Shell::HERE;
    let (name, file) = (shell.quote(&facts.file_name()), shell.path(file));
    let generation = generation(facts.target);
    let (set, sas) = match shell {
        Shell::Posix => ("SAS=$(", "\"$SAS\""),
        Shell::PowerShell => ("$SAS = $(", "\"$SAS\""),
    };
    vec![
        format!(
            "az disk create --resource-group GROUP --name {name} --os-type Windows --hyper-v-generation V{generation} --upload-type Upload \
             --upload-size-bytes {bytes} --sku Standard_LRS"
        ),
        format!(
            "{set}az disk grant-access --resource-group GROUP --name {name} --access-level Write --duration-in-seconds 86400 \
             --query 'accessSAS || accessSas' --output tsv)"
        ),
        format!("azcopy copy {file} {sas} --blob-type PageBlob"),
        format!("az disk revoke-access --resource-group GROUP --name {name}"),
        format!("az vm create --resource-group GROUP --name {name} --attach-os-disk {name} --os-type Windows"),
    ]
}

fn kvm(facts: &MachineFacts, file: &str, format: Format) -> Vec<String> {
    let shell = Shell::HERE;
    let name = shell.quote(&facts.name);
    let bus = if facts.controller == Controller::Virtio { "virtio" } else { "sata" };
    let nic = match facts.nic {
        Nic::E1000 => "e1000",
        Nic::E1000e => "e1000e",
        Nic::Vmxnet3 => "vmxnet3",
        Nic::Virtio => "virtio",
    };
    let boot = match (facts.firmware, facts.secure_boot) {
        (Firmware::Uefi, true) => {
            " --boot firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=yes"
        }
        (Firmware::Uefi, false) => {
            " --boot firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=no"
        }
        _ => "",
    };
    // A comma in a path would end the option's value; libvirt's tools take two for one.
    let disk = shell.quote(&format!("path={},format={},bus={bus}", file.replace(',', ",,"), format.qemu_driver()));
    vec![format!(
        "virt-install --import --name {name} --memory {} --vcpus {} --os-variant {} --disk {disk} \
         --network network=default,model={nic}{boot} --noautoconsole",
        facts.memory_mib,
        facts.cpus,
        facts.os.names().osinfo
    )]
}

fn vmware_ova(facts: &MachineFacts, file: &str) -> Vec<String> {
    let shell = Shell::HERE;
    let name = shell.quote(&facts.name);
    vec![format!("ovftool --name={name} {} vi://USER@HOST/", shell.path(file))]
}

fn vmware_disk(facts: &MachineFacts, file: &str) -> Vec<String> {
    let shell = Shell::HERE;
    let firmware = if facts.firmware == Firmware::Uefi { "efi" } else { "bios" };
    let nic = if facts.nic == Nic::Vmxnet3 { "vmxnet3" } else { "e1000e" };
    let name = shell.quote(&facts.name);
    vec![
        format!("govc import.vmdk {} {name}", shell.path(file)),
        format!(
            "govc vm.create -on=false -m {} -c {} -g {} -firmware {firmware} -net.adapter {nic} -disk {} {name}",
            facts.memory_mib,
            facts.cpus,
            facts.os.names().vmware,
            shell.quote(&format!("{}/{}", facts.name, file_name(file)))
        ),
        format!("govc vm.power -on {name}"),
    ]
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn raw(facts: &MachineFacts, file: &str, format: Format) -> Vec<String> {
    let shell = Shell::HERE;
    let firmware = if facts.firmware == Firmware::Uefi { " -bios /usr/share/ovmf/OVMF.fd" } else { "" };
    let drive = shell.quote(&format!("file={},format={},if=ide", file.replace(',', ",,"), format.qemu_driver()));
    vec![format!(
        "qemu-system-x86_64 -m {} -smp {}{firmware} -drive {drive} -nic user,model=e1000 -serial mon:stdio",
        facts.memory_mib, facts.cpus
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_for_each_shell() {
        let hostile = "a'b $(x) `y` \"z\"; \u{2019}";
        assert_eq!(Shell::Posix.quote(hostile), "'a'\\''b $(x) `y` \"z\"; \u{2019}'");
        assert_eq!(Shell::PowerShell.quote(hostile), "'a''b $(x) `y` \"z\"; \u{2019}\u{2019}'");
        for shell in [Shell::Posix, Shell::PowerShell] {
            assert_eq!(shell.quote("nano-1.vhdx"), "nano-1.vhdx");
            assert_eq!(shell.quote(""), "''");
            assert_eq!(shell.path("-x.vhd"), "./-x.vhd");
        }
        assert_eq!(Shell::Posix.quote(r"C:\x"), r"'C:\x'");
        assert_eq!(Shell::PowerShell.quote(r"C:\x"), r"C:\x");
    }
}
