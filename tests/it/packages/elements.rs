//! One made package for each kind of thing that manifests say.

use crate::support::catalog::program;
use crate::support::packages::{Component, Id, Package};

const SYSTEM32: &str = r"$(runtime.system32)\";
const SERVICES: &str = "<id name=\"Microsoft.Windows.Categories.Services\" version=\"10.0.14393.0\" publicKeyToken=\"31bf3856ad364e35\" typeName=\"Service\" />";

/// The edition of the made image.
pub(super) fn edition() -> Id {
    Id::package("Microsoft-NanoServer-Edition-Core-Package")
}

/// A package of one component, for the made image.
fn one(component: Component) -> Vec<Package> {
    let name = component.id.name.clone();
    vec![Package::new(&format!("Made-{name}-Package")).parent(&edition()).update(&format!("Made-{name}"), &[component])]
}

fn category(name: &str, subcategory: &str, inside: &str) -> String {
    format!(
        "<memberships><categoryMembership><id name=\"Microsoft.Windows.Categories\" version=\"1.0.0.0\" \
         publicKeyToken=\"365143bb27e7ac8b\" typeName=\"{name}\" /><categoryInstance subcategory=\"{subcategory}\">{inside}\
         </categoryInstance></categoryMembership></memberships>"
    )
}

fn service(inside: &str) -> String {
    format!(
        "<memberships><categoryMembership>{SERVICES}<categoryInstance subcategory=\"made\">{inside}</categoryInstance></categoryMembership></memberships>"
    )
}

fn registry(key: &str, inside: &str) -> String {
    format!("<registryKeys><registryKey keyName=\"{key}\">{inside}</registryKey></registryKeys>")
}

fn definition(name: &str, sddl: &str) -> String {
    format!("<securityDescriptorDefinition name=\"{name}\" sddl=\"{sddl}\" operationHint=\"replace\" />")
}

fn trust(definitions: &[String]) -> String {
    format!(
        "<trustInfo><security><accessControl><securityDescriptorDefinitions>{}</securityDescriptorDefinitions></accessControl></security></trustInfo>",
        definitions.concat()
    )
}

const TRUSTED_INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";

fn files_sddl() -> String {
    format!(
        "O:{TRUSTED_INSTALLER}G:{TRUSTED_INSTALLER}D:P(A;;FA;;;{TRUSTED_INSTALLER})(A;;GRGX;;;BA)(A;;GRGX;;;SY)(A;;GRGX;;;BU)"
    )
}

/// The packages that are given together, under the name of the case.
pub(super) fn cases() -> Vec<(&'static str, Vec<Package>)> {
    vec![
        ("base-and-language", base_and_language()),
        ("nested", nested()),
        ("features", features()),
        ("driver-declared", driver_declared()),
        ("driver-inf", driver_inf()),
        ("service", one(services())),
        ("svchost", one(Component::new("Grouped").with(&category(
            "SvcHost",
            "netsvcs",
            "<serviceGroup xmlns=\"urn:schemas-microsoft-com:asm.v3\" position=\"last\" serviceName=\"made\" />",
        )))),
        ("environment", one(Component::new("Environment").with(&category(
            "Environment",
            "Path",
            r#"<path name="%SystemRoot%\System32\Made\" position="last" />"#,
        )))),
        ("firewall", one(firewall())),
        ("task", one(task())),
        ("channel", one(channel())),
        ("registry", one(values())),
        ("multi-string", one(Component::new("Appends").with(&registry(
            r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Svchost",
            "<registryValue name=\"LocalService\" valueType=\"REG_MULTI_SZ\" value=\"&quot;made&quot;,&quot;nsi&quot;\" operationHint=\"append\" />",
        )))),
        ("x86", x86()),
        ("descriptors", one(descriptors())),
        ("files", one(files())),
        ("versions", versions()),
        ("left-out", one(left_out())),
    ]
}

fn base_and_language() -> Vec<Package> {
    let text = Component::of(Id::component("Speaks.Resources").language("en-US")).file(
        r"$(runtime.system32)\en-US\",
        "speaks.dll.mui",
        b"English",
    );
    let own = Component::new("Speaks").needs("prerequisite", &Id::component("Speaks.Resources").language("*")).file(
        SYSTEM32,
        "speaks.dll",
        b"a program",
    );
    let neutral = Package::new("Made-Speaks-Package").parent(&edition()).update("Made-Speaks", &[own]);
    let language =
        Package::of(neutral.id.clone().language("en-US")).parent(&neutral.id).update("Made-Speaks-en-US", &[text]);
    // In the wrong order.
    vec![language, neutral]
}

fn nested() -> Vec<Package> {
    let inner = Package::new("Made-Inner-Package")
        .update("Made-Inner", &[Component::new("Inner").file(SYSTEM32, "inner.dll", b"inner")]);
    let middle = Package::new("Made-Middle-Package").nests("inner", &inner);
    // One component of it is in the other, too.
    let shared = Component::new("Shared").file(SYSTEM32, "shared.dll", b"shared");
    let middle = middle.update("Made-Middle", std::slice::from_ref(&shared));
    vec![Package::new("Made-Outer-Package").parent(&edition()).nests("middle", &middle).update("Made-Outer", &[shared])]
}

fn features() -> Vec<Package> {
    let feature = |name: &str| Component::new(name).file(SYSTEM32, &format!("{name}.dll"), name.as_bytes());
    vec![
        Package::new("Made-Features-Package")
            .parent(&edition())
            .update("Always", &[feature("always")])
            .update("Chosen", &[feature("chosen")])
            .says(
                "displayName=\"A feature\"",
                "<selectable disposition=\"staged\"><detectNone default=\"true\" /></selectable>",
            )
            .update("NotChosen", &[feature("notchosen")])
            .says(
                "displayName=\"Another feature\"",
                "<selectable disposition=\"staged\"><detectNone default=\"false\" /></selectable>",
            ),
    ]
}

const INF: &str = "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=SCSIAdapter\r\n\
    ClassGuid={4d36e97b-e325-11ce-bfc1-08002be10318}\r\nProvider=%who%\r\nDriverVer=01/02/2016,10.0.14393.0\r\nPnpLockdown=1\r\n\
    [Manufacturer]\r\n%who%=Models,NTamd64\r\n[Models.NTamd64]\r\n%what%=Install,PCI\\VEN_1AF4&DEV_FFF1\r\n[Install]\r\nCopyFiles=Files\r\n\
    [Files]\r\nmade.sys\r\n[DestinationDirs]\r\nDefaultDestDir=12\r\n[SourceDisksNames]\r\n1=disk\r\n[SourceDisksFiles]\r\nmade.sys=1\r\n\
    [Install.Services]\r\nAddService=made,2,Service\r\n[Service]\r\nServiceType=1\r\nStartType=0\r\nErrorControl=1\r\n\
    ServiceBinary=%12%\\made.sys\r\n[Strings]\r\nwho=\"Made\"\r\nwhat=\"A controller\"\r\n";

fn dual(name: &str) -> Id {
    Id { scope: None, ..Id::component(name) }.kind("dualModeDriver")
}

/// As newer Windows have them: all that the INF comes to is said.
fn driver_declared() -> Vec<Package> {
    let folder = "dual.inf_amd64_0123456789abcdef";
    let store = format!(r#"destinationPath="$(runtime.system32)\DriverStore\FileRepository\{folder}\""#);
    let component = Component::of(dual("dual_dual.inf"))
        .file_with("dual.inf", INF.as_bytes(), &store, "<infFile />")
        .file_with("dual.sys", &program(3, 2000), r#"destinationPath="$(runtime.drivers)\""#, "")
        .with(&registry(
            &format!(r"HKEY_LOCAL_MACHINE\SYSTEM\DriverDatabase\DriverPackages\{folder}"),
            "<registryValue name=\"\" valueType=\"REG_SZ\" value=\"dual.inf\" /><registryValue name=\"Version\" valueType=\"REG_BINARY\" value=\"00FF0900\" />",
        ))
        .with(&registry(
            r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\dual",
            "<registryValue name=\"Start\" valueType=\"REG_DWORD\" value=\"0x00000003\" /><registryValue name=\"Type\" valueType=\"REG_DWORD\" value=\"0x00000001\" />",
        ));
    vec![Package::new("Made-Declared-Package").parent(&edition()).driver("dual.inf", "dual.inf", &component)]
}

/// As older ones may: the INF and its files.
fn driver_inf() -> Vec<Package> {
    let component = Component::of(dual("dual_made.inf"))
        .file_with("made.inf", INF.as_bytes(), "", "<infFile />")
        .file_with("made.sys", &program(5, 2000), "", "");
    vec![Package::new("Made-Inf-Package").parent(&edition()).driver("made.inf", "made.inf", &component)]
}

fn services() -> Component {
    Component::new("Serves")
        .file(SYSTEM32, "made.exe", &program(7, 2000))
        .file(r"$(runtime.drivers)\", "madedrv.sys", &program(8, 2000))
        .with(&service(
            "<serviceData name=\"made\" displayName=\"@%SystemRoot%\\System32\\made.exe,-1\" description=\"A made service\" errorControl=\"normal\" \
             start=\"delayedAuto\" type=\"win32ShareProcess\" imagePath=\"%SystemRoot%\\System32\\svchost.exe -k netsvcs\" \
             objectName=\"NT AUTHORITY\\LocalService\" dependOnService=\"RpcSs,nsi\" group=\"Made Group\" tag=\"2\" \
             requiredPrivileges=\"SeChangeNotifyPrivilege,SeCreateGlobalPrivilege\" sidType=\"unrestricted\">\
             <serviceTrigger action=\"start\" subtype=\"FIREWALL_PORT_OPEN_GUID\" type=\"FirewallPortEvent\"><triggerData type=\"string\" value=\"&quot;7&quot;,&quot;TCP&quot;\" /></serviceTrigger>\
             <failureActions resetPeriod=\"86400\"><actions><action delay=\"10000\" type=\"restartService\" /><action delay=\"0\" type=\"none\" /></actions></failureActions>\
             <securityDescriptor name=\"MADE_SERVICE\" /></serviceData>",
        ))
        .with(&service(
            "<serviceData name=\"madedrv\" errorControl=\"critical\" start=\"boot\" type=\"kernelDriver\" imagePath=\"system32\\drivers\\madedrv.sys\" />",
        ))
        .with(&trust(&[definition("MADE_SERVICE", "D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCLCSWLOCRRC;;;BU)")]))
}

fn firewall() -> Component {
    Component::new("Opens").with(
        "<firewallRule xmlns=\"urn:schemas-microsoft-com:asm.v3\" internalName=\"Made-In-TCP\" Action=\"Allow\" Active=\"TRUE\" Dir=\"In\" \
         Protocol=\"TCP\" LPort=\"4711\" Binary=\"%SystemRoot%\\System32\\made.exe\" Service=\"made\" Profile=\"Domain\" Name=\"Made (TCP-In)\" \
         Desc=\"A made rule\" group=\"Made\" />",
    )
}

fn task() -> Component {
    Component::new("Schedules").with(
        "<taskScheduler><Task xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\" version=\"1.2\"><RegistrationInfo>\
         <URI>\\Microsoft\\Windows\\Made\\Tidy</URI><Author>Made</Author></RegistrationInfo><Triggers><BootTrigger /></Triggers>\
         <Principals><Principal id=\"LocalSystem\"><UserId>S-1-5-18</UserId></Principal></Principals><Actions Context=\"LocalSystem\"><Exec>\
         <Command>%SystemRoot%\\System32\\made.exe</Command></Exec></Actions></Task></taskScheduler>",
    )
}

fn channel() -> Component {
    Component::new("Reports").file(SYSTEM32, "reports.dll", &program(9, 2000)).with(
        "<instrumentation xmlns:win=\"http://manifests.microsoft.com/win/2004/08/windows/events\"><events \
         xmlns=\"http://schemas.microsoft.com/win/2004/08/events\"><provider guid=\"{11111111-2222-3333-4444-555555555555}\" name=\"Made-Reports\" \
         symbol=\"MADE\" resourceFileName=\"%SystemRoot%\\System32\\reports.dll\" messageFileName=\"%SystemRoot%\\System32\\reports.dll\" \
         message=\"$(string.name)\"><channels>\
         <channel chid=\"OPERATIONAL\" name=\"Made-Reports/Operational\" type=\"Operational\" isolation=\"Application\" enabled=\"true\" symbol=\"OP\" />\
         <channel chid=\"DEBUG\" name=\"Made-Reports/Debug\" type=\"Debug\" symbol=\"DBG\" />\
         <importChannel chid=\"SYSTEM\" name=\"System\" symbol=\"SYS\" /></channels>\
         <events><event value=\"1\" channel=\"OPERATIONAL\" level=\"win:Informational\" message=\"$(string.one)\" symbol=\"ONE\" /></events>\
         </provider></events></instrumentation><localization><resources culture=\"en-US\"><stringTable><string id=\"name\" value=\"Made reports\" />\
         <string id=\"one\" value=\"One\" /></stringTable></resources></localization>",
    )
}

fn values() -> Component {
    let value = |name: &str, kind: &str, value: &str, more: &str| {
        format!("<registryValue name=\"{name}\" valueType=\"{kind}\" value=\"{value}\"{more} />")
    };
    let values = [
        value("", "REG_SZ", "the default", ""),
        value("Text", "REG_SZ", r"$(runtime.system32)\made.dll", " mutable=\"true\""),
        value("Expand", "REG_EXPAND_SZ", r"%SystemRoot%\made", " operationHint=\"replace\" owner=\"true\""),
        value("Number", "REG_DWORD", "0x0000002A", ""),
        value("Long", "REG_QWORD", "0A88000000000000", ""),
        value("Bytes", "REG_BINARY", "00FF10", ""),
        value("Many", "REG_MULTI_SZ", "&quot;a&quot;,&quot;b c&quot;", ""),
        value("Nothing", "REG_NONE", "", ""),
        value("Odd", "00020001", "01020304", ""),
    ];
    Component::new("Registers")
        .with(&registry(r"HKEY_LOCAL_MACHINE\SOFTWARE\Made", &values.concat()))
        .with(&registry(r"HKEY_LOCAL_MACHINE\SOFTWARE\Made\Empty", ""))
        .with(&registry(r"HKEY_CLASSES_ROOT\Made.Class", &value("", "REG_SZ", "A class", "")))
        .with(&registry(r"HKEY_CURRENT_USER\Software\Made", &value("User", "REG_SZ", "somebody", "")))
        .with(&registry(
            r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Made",
            &value("On", "REG_DWORD", "0x00000001", ""),
        ))
}

fn x86() -> Vec<Package> {
    let of = |architecture: &str, name: &str| {
        Component::of(Id::component(name).architecture(architecture))
            .file(SYSTEM32, &format!("{}.dll", name.to_lowercase()), name.as_bytes())
            .file(r"$(runtime.programFiles)\Made\", &format!("{}.txt", name.to_lowercase()), b"text")
            .with(&registry(
                r"HKEY_LOCAL_MACHINE\SOFTWARE\Made\Both",
                &format!("<registryValue name=\"{name}\" valueType=\"REG_SZ\" value=\"$(runtime.system32)\" />"),
            ))
    };
    vec![
        Package::new("Made-Guests-Package")
            .parent(&edition())
            .update("Made-Guests", &[of("amd64", "Native"), of("x86", "Guest"), of("wow64", "Wow")]),
    ]
}

fn descriptors() -> Component {
    let with = "<securityDescriptor name=\"MADE_FILE\" />";
    Component::new("Protects")
        .file_with("protected.dll", b"protected", r#"destinationPath="$(runtime.system32)\""#, with)
        .with(
            "<directories><directory destinationPath=\"$(runtime.programData)\\Made\\\" owner=\"true\"><securityDescriptor name=\"MADE_DIRECTORY\" /></directory>\
             <directory destinationPath=\"$(runtime.windows)\\Made\" owner=\"true\" attributes=\"hidden\" /></directories>",
        )
        .with(&registry(
            r"HKEY_LOCAL_MACHINE\SOFTWARE\Made\Protected",
            "<registryValue name=\"a\" valueType=\"REG_SZ\" value=\"b\" /><securityDescriptor name=\"MADE_KEY\" />",
        ))
        .with(&trust(&[
            definition("MADE_FILE", &files_sddl()),
            definition("MADE_DIRECTORY", "O:SYG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"),
            definition("MADE_KEY", "O:BAG:SYD:P(A;CI;KA;;;SY)(A;CI;KR;;;BU)"),
        ]))
}

fn files() -> Component {
    Component::new("Files")
        .file(r"$(runtime.system32)\Made\", "Here.txt", b"here")
        .file_with(
            "linked.txt",
            b"linked",
            r#"destinationPath="$(runtime.windows)\Made\""#,
            r#"<link destination="$(runtime.programData)\Made\also.txt" />"#,
        )
        .file_with("stays.txt", b"in the store", "", "")
        .file_with(r"folder\deep.txt", b"deep", r#"destinationPath="$(runtime.wbem)\""#, "")
        .file_with(
            "hidden.txt",
            b"hidden",
            r#"destinationPath="$(runtime.inf)\" attributes="hidden" writeableType="nonReplaceable""#,
            "",
        )
}

/// Components of the made image, newer and older than it has them.
fn versions() -> Vec<Package> {
    let component = |number: usize, version: &str| {
        let name = format!("nanovhd-demo-component-{number:03}");
        let id = Id { token: "0000000000000000".into(), ..Id::component(&name) };
        let file = format!("demo-component-{number:03}.dll");
        Component::of(id.version(version)).file(SYSTEM32, &file, version.as_bytes())
    };
    let parts = [component(1, "10.0.14393.9"), component(2, "10.0.10586.0"), component(3, "10.0.14393.7")];
    let later = component(3, "10.0.14393.8");
    vec![
        Package::new("Made-Versions-Package").parent(&edition()).update("Made-Versions", &parts),
        Package::new("Made-Later-Package").parent(&edition()).update("Made-Later", &[later]),
    ]
}

/// What cannot be done without that Windows running, and what nobody knows.
pub(super) fn left_out() -> Component {
    Component::new("Commands")
        .file_with("made.mof", b"#pragma", r#"destinationPath="$(runtime.wbem)\" newAttribute="1""#, "")
        .with("<mof xmlns=\"urn:schemas-microsoft-com:asm.v3\" name=\"$(runtime.wbem)\\made.mof\" />")
        .with("<genericCommands><genericCommand executableName=\"made.exe\" arguments=\"-install\" passes=\"1\" /></genericCommands>")
        .with("<networkComponents xmlns=\"urn:schemas-microsoft-com:asm.v3\"><networkComponent id=\"made\" /></networkComponents>")
        .with("<quantumLeap distance=\"far\"><further /></quantumLeap>")
        .with("<migration scope=\"Upgrade\" /><rescache xmlns=\"urn:schemas-microsoft-com:rescache.v1\" />")
        .with(&registry(r"HKEY_LOCAL_MACHINE\SOFTWARE\Made", "<registryValue name=\"a\" valueType=\"REG_DWORD\" value=\"many\" />"))
        .with(&registry(r"HKEY_LOCAL_MACHINE\HARDWARE\Made", "<registryValue name=\"a\" valueType=\"REG_SZ\" value=\"b\" />"))
        .file(r"$(runtime.nowhere)\", "lost.txt", b"lost")
        .file(r"$(runtime.system32)\..\..\", "up.txt", b"up")
}
