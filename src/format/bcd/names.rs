//! What bcdedit calls the objects and elements.

use uuid::{Uuid, uuid};

/// The codes that this program itself deals with.
pub mod code {
    /// Where the program is.
    pub const DEVICE: u32 = 0x1100_0001;
    /// The program.
    pub const PATH: u32 = 0x1200_0002;
    /// What menus show.
    pub const DESCRIPTION: u32 = 0x1200_0004;
    /// The language of menus.
    pub const LOCALE: u32 = 0x1200_0005;
    /// Where Windows is.
    pub const OS_DEVICE: u32 = 0x2100_0001;
    /// The folder of Windows.
    pub const SYSTEM_ROOT: u32 = 0x2200_0002;
    /// Of the boot manager: what its menu shows, in its order.
    pub const DISPLAY_ORDER: u32 = 0x2400_0001;
    /// Of the boot manager: what it starts if nobody chooses.
    pub const DEFAULT: u32 = 0x2300_0003;
    /// In templates: the program, below the folder of Windows.
    pub const APPLICATION_RELATIVE_PATH: u32 = 0x4200_0002;
}

const OBJECTS: &[(&str, Uuid)] = &[
    ("bootmgr", uuid!("9dea862c-5cdd-4e70-acc1-f32b344d4795")),
    ("fwbootmgr", uuid!("a5a30fa2-3d06-4e9f-b5f4-a01df9d1fcba")),
    ("memdiag", uuid!("b2721d73-1db4-4c62-bf78-c548a880142d")),
    ("ntldr", uuid!("466f5a88-0af2-4f76-9038-095b170dc21c")),
    ("current", uuid!("fa926493-6f1c-4193-a414-58f0b2456d1e")),
    ("default", uuid!("1cae1eb7-a0df-4d4d-9851-4860e34ef535")),
    ("globalsettings", uuid!("7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e")),
    ("dbgsettings", uuid!("4636856e-540f-4170-a130-a84776f4c654")),
    ("emssettings", uuid!("0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9")),
    ("badmemory", uuid!("5189b25c-5558-4bf2-bca4-289b11bd29e2")),
    ("bootloadersettings", uuid!("6efb52bf-1766-41db-a6b3-0ee5eff72bd7")),
    ("resumeloadersettings", uuid!("1afa9c49-16ab-4a5c-901b-212802da9460")),
    ("hypervisorsettings", uuid!("7ff607e0-4395-11db-b0de-0800200c9a66")),
    ("ramdiskoptions", uuid!("ae5534e0-a924-466c-b836-758539a3ee3a")),
];

/// The well-known name of an object, without braces.
pub fn object_name(id: &Uuid) -> Option<&'static str> {
    OBJECTS.iter().find(|(_, known)| known == id).map(|(name, _)| *name)
}

/// The object of a well-known name.
pub fn id_of_name(name: &str) -> Option<Uuid> {
    OBJECTS.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

/// The name of an element, which depends on the type of its object.
pub fn element_name(object: u32, code: u32) -> Option<&'static str> {
    let special = match object & 0xF00F_FFFF {
        0x1000_0001 | 0x1000_0002 => BOOTMGR,
        0x1000_0003 | 0x2000_0003 => OSLOADER,
        0x1000_0004 | 0x2000_0004 => RESUME,
        0x1000_0005 | 0x2000_0005 => MEMDIAG,
        0x3000_0000 => DEVICE_OPTIONS,
        _ => &[],
    };
    let mut known = special.iter().chain(LIBRARY).chain(TEMPLATE);
    known.find(|(known, _)| *known == code).map(|(_, name)| *name)
}

type Names = &'static [(u32, &'static str)];

#[rustfmt::skip]
const LIBRARY: Names = &[
    (0x1100_0001, "device"), (0x1200_0002, "path"), (0x1200_0004, "description"), (0x1200_0005, "locale"),
    (0x1400_0006, "inherit"), (0x1500_0007, "truncatememory"), (0x1400_0008, "recoverysequence"),
    (0x1600_0009, "recoveryenabled"), (0x1700_000a, "badmemorylist"), (0x1600_000b, "badmemoryaccess"),
    (0x1500_000c, "firstmegabytepolicy"), (0x1500_000d, "relocatephysical"), (0x1500_000e, "avoidlowmemory"),
    (0x1600_0010, "bootdebug"), (0x1500_0011, "debugtype"), (0x1500_0012, "debugaddress"), (0x1500_0013, "debugport"),
    (0x1500_0014, "baudrate"), (0x1500_0015, "channel"), (0x1200_0016, "targetname"), (0x1600_0017, "noumex"),
    (0x1500_0018, "debugstart"), (0x1200_0019, "busparams"), (0x1500_001a, "hostip"), (0x1500_001b, "port"),
    (0x1600_001c, "dhcp"), (0x1200_001d, "key"), (0x1600_001e, "vm"), (0x1600_0020, "bootems"),
    (0x1500_0022, "emsport"), (0x1500_0023, "emsbaudrate"), (0x1200_0030, "loadoptions"),
    (0x1600_0040, "advancedoptions"), (0x1600_0041, "optionsedit"), (0x1600_0046, "graphicsmodedisabled"),
    (0x1500_0047, "configaccesspolicy"), (0x1600_0048, "nointegritychecks"), (0x1600_0049, "testsigning"),
    (0x1200_004a, "fontpath"), (0x1500_004b, "integrityservices"), (0x1600_0050, "extendedinput"),
    (0x1500_0051, "initialconsoleinput"), (0x1500_0052, "graphicsresolution"), (0x1600_0053, "restartonfailure"),
    (0x1600_0054, "highestmode"), (0x1600_0060, "isolatedcontext"), (0x1500_0065, "displaymessage"),
    (0x1500_0066, "displaymessageoverride"), (0x1600_0067, "nobootuxlogo"), (0x1600_0068, "nobootuxtext"),
    (0x1600_0069, "nobootuxprogress"), (0x1600_006a, "nobootuxfade"), (0x1600_006c, "bootuxdisabled"),
    (0x1700_0077, "allowedinmemorysettings"), (0x1600_007b, "forcefipscrypto"), (0x1600_007e, "flightsigning"),
];

#[rustfmt::skip]
const BOOTMGR: Names = &[
    (0x2400_0001, "displayorder"), (0x2400_0002, "bootsequence"), (0x2300_0003, "default"), (0x2500_0004, "timeout"),
    (0x2600_0005, "resume"), (0x2300_0006, "resumeobject"), (0x2400_0010, "toolsdisplayorder"),
    (0x2600_0020, "displaybootmenu"), (0x2600_0021, "noerrordisplay"), (0x2100_0022, "bcddevice"),
    (0x2200_0023, "bcdfilepath"), (0x2600_0028, "processcustomactionsfirst"), (0x2700_0030, "customactions"),
    (0x2600_0031, "persistbootsequence"),
];

#[rustfmt::skip]
const OSLOADER: Names = &[
    (0x2100_0001, "osdevice"), (0x2200_0002, "systemroot"), (0x2300_0003, "resumeobject"), (0x2600_0004, "stampdisks"),
    (0x2600_0010, "detecthal"), (0x2200_0011, "kernel"), (0x2200_0012, "hal"), (0x2200_0013, "dbgtransport"),
    (0x2500_0020, "nx"), (0x2500_0021, "pae"), (0x2600_0022, "winpe"), (0x2600_0024, "nocrashautoreboot"),
    (0x2600_0025, "lastknowngood"), (0x2600_0026, "oslnointegritychecks"), (0x2600_0027, "osltestsigning"),
    (0x2600_0030, "nolowmem"), (0x2500_0031, "removememory"), (0x2500_0032, "increaseuserva"),
    (0x2500_0033, "perfmem"), (0x2600_0040, "vga"), (0x2600_0041, "quietboot"), (0x2600_0042, "novesa"),
    (0x2600_0043, "novga"), (0x2500_0050, "clustermodeaddressing"), (0x2600_0051, "usephysicaldestination"),
    (0x2500_0052, "restrictapicluster"), (0x2600_0054, "uselegacyapicmode"), (0x2500_0055, "x2apicpolicy"),
    (0x2600_0060, "onecpu"), (0x2500_0061, "numproc"), (0x2600_0062, "maxproc"), (0x2500_0063, "configflags"),
    (0x2600_0064, "maxgroup"), (0x2600_0065, "groupaware"), (0x2500_0066, "groupsize"),
    (0x2600_0070, "usefirmwarepcisettings"), (0x2500_0071, "msi"), (0x2500_0072, "pciexpress"),
    (0x2500_0080, "safeboot"), (0x2600_0081, "safebootalternateshell"), (0x2600_0090, "bootlog"), (0x2600_0091, "sos"),
    (0x2600_00a0, "debug"), (0x2600_00a1, "halbreakpoint"), (0x2600_00a2, "useplatformclock"),
    (0x2600_00a3, "forcelegacyplatform"), (0x2600_00a4, "useplatformtick"), (0x2600_00a5, "disabledynamictick"),
    (0x2500_00a6, "tscsyncpolicy"), (0x2600_00b0, "ems"), (0x2500_00c0, "forcefailure"),
    (0x2500_00c1, "driverloadfailurepolicy"), (0x2500_00c2, "bootmenupolicy"), (0x2600_00c3, "onetimeadvancedoptions"),
    (0x2600_00c4, "onetimeoptionsedit"), (0x2500_00e0, "bootstatuspolicy"), (0x2600_00e1, "disableelamdrivers"),
    (0x2500_00f0, "hypervisorlaunchtype"), (0x2200_00f1, "hypervisorpath"), (0x2600_00f2, "hypervisordebug"),
    (0x2500_00f3, "hypervisordebugtype"), (0x2500_00f4, "hypervisordebugport"), (0x2500_00f5, "hypervisorbaudrate"),
    (0x2500_00f6, "hypervisorchannel"), (0x2500_00f7, "bootux"), (0x2200_00f9, "hypervisorbusparams"),
    (0x2500_00fa, "hypervisornumproc"), (0x2500_00fb, "hypervisorrootprocpernode"),
    (0x2600_00fc, "hypervisoruselargevtlb"), (0x2500_00fd, "hypervisorhostip"), (0x2500_00fe, "hypervisorhostport"),
    (0x2500_0100, "tpmbootentropy"), (0x2200_0110, "hypervisorusekey"),
];

#[rustfmt::skip]
const RESUME: Names = &[
    (0x2100_0001, "filedevice"), (0x2200_0002, "filepath"), (0x2600_0003, "customsettings"), (0x2600_0004, "pae"),
    (0x2100_0005, "associatedosdevice"), (0x2600_0006, "debugoptionenabled"), (0x2500_0007, "bootux"),
    (0x2500_0008, "bootmenupolicy"),
];

const MEMDIAG: Names = &[(0x2500_0001, "passcount"), (0x2500_0002, "testmix"), (0x2500_0003, "failurecount")];

#[rustfmt::skip]
const DEVICE_OPTIONS: Names = &[
    (0x3500_0001, "ramdiskimageoffset"), (0x3500_0002, "ramdisktftpclientport"), (0x3100_0003, "ramdisksdidevice"),
    (0x3200_0004, "ramdisksdipath"), (0x3500_0005, "ramdiskimagelength"), (0x3600_0006, "exportascd"),
    (0x3500_0007, "ramdisktftpblocksize"),
];

#[rustfmt::skip]
const TEMPLATE: Names = &[
    (0x4500_0001, "devicetype"), (0x4200_0002, "applicationrelativepath"), (0x4200_0003, "ramdiskdevicerelativepath"),
    (0x4600_0004, "omitosloaderelements"), (0x4700_0006, "elementstomigrate"),
];

/// The heading of an object in bcdedit's list: by its identifier, or else by its type.
pub fn object_title(id: &Uuid, kind: u32) -> &'static str {
    let by_name = object_name(id).and_then(|name| TITLES.iter().find(|(known, _)| *known == name));
    by_name.map(|(_, title)| *title).unwrap_or(match kind {
        0x1010_0001 => "Firmware Boot Manager",
        0x1010_0002 => "Windows Boot Manager",
        0x1020_0003 => "Windows Boot Loader",
        0x1020_0004 => "Resume from Hibernate",
        0x1020_0005 => "Windows Memory Tester",
        0x1030_0006 => "Windows Legacy OS Loader",
        0x1020_0007 | 0x1030_0007 => "Windows Setup",
        0x1030_0008 | 0x1040_0008 => "Real-mode Boot Sector",
        0x1040_0009 => "Startup Module",
        0x1020_000a => "Generic Boot Application",
        0x101f_ffff => "Firmware Application (101fffff)",
        0x2010_0000 => "Inheritable Settings",
        0x2020_0003 => "OS Loader Settings",
        0x2020_0004 => "Resume Loader Settings",
        0x3000_0000 => "Device options",
        _ => "Unknown Object",
    })
}

const TITLES: &[(&str, &str)] = &[
    ("fwbootmgr", "Firmware Boot Manager"),
    ("bootmgr", "Windows Boot Manager"),
    ("memdiag", "Windows Memory Tester"),
    ("ntldr", "Windows Legacy OS Loader"),
    ("globalsettings", "Global Settings"),
    ("dbgsettings", "Debugger Settings"),
    ("emssettings", "EMS Settings"),
    ("badmemory", "RAM Defects"),
    ("bootloadersettings", "Boot Loader Settings"),
    ("resumeloadersettings", "Resume Loader Settings"),
    ("hypervisorsettings", "Hypervisor Settings"),
    ("ramdiskoptions", "Setup Ramdisk Options"),
];

/// The word that bcdedit has for a number, where an element has one for each of its values.
pub fn choice_name(object: u32, code: u32, value: u64) -> Option<&'static str> {
    let words: &[&str] = match element_name(object, code)? {
        "nx" => &["OptIn", "OptOut", "AlwaysOff", "AlwaysOn"],
        "pae" if code >> 24 == 0x25 => &["Default", "ForceEnable", "ForceDisable"],
        "bootmenupolicy" => &["Legacy", "Standard"],
        "debugtype" | "hypervisordebugtype" => &["Serial", "1394", "USB", "NET", "Local"],
        "debugstart" => &["Active", "AutoEnable", "Disable"],
        "hypervisorlaunchtype" => &["Off", "Auto"],
        "safeboot" => &["Minimal", "Network", "DsRepair"],
        "bootstatuspolicy" => {
            &["DisplayAllFailures", "IgnoreAllFailures", "IgnoreShutdownFailures", "IgnoreBootFailures"]
        }
        "driverloadfailurepolicy" => &["Fatal", "UseErrorControl"],
        "configaccesspolicy" => &["Default", "DisallowMmConfig"],
        "firstmegabytepolicy" => &["UseNone", "UseAll", "UsePrivate"],
        "graphicsresolution" => &["1024x768", "800x600", "1024x600"],
        "tscsyncpolicy" => &["Default", "Legacy", "Enhanced"],
        "x2apicpolicy" | "integrityservices" => &["Default", "Disable", "Enable"],
        "msi" => &["Default", "ForceDisable"],
        "pciexpress" => &["Default", "ForceDisable"],
        "tpmbootentropy" => &["Default", "ForceDisable", "ForceEnable"],
        "displaymessage" | "displaymessageoverride" => &[
            "Default",
            "Resume",
            "HyperV",
            "Recovery",
            "StartupRepair",
            "SystemImageRecovery",
            "CommandPrompt",
            "SystemRestore",
            "PushButtonReset",
        ],
        _ => return None,
    };
    words.get(usize::try_from(value).ok()?).copied()
}
