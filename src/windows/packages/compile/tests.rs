//! Made manifests, and what they come to, in words.

use super::*;
use crate::base::sddl;
use crate::error::Kind;
use crate::format::hive::{Value, kind};

const HEADER: &str = r#"<assemblyIdentity name="Made-Component" version="10.0.14393.0" processorArchitecture="amd64" language="neutral"
    buildType="release" publicKeyToken="31bf3856ad364e35" versionScope="nonSxS" />"#;

fn compiled(body: &str) -> Compiled {
    of_architecture("amd64", body)
}

fn of_architecture(architecture: &str, body: &str) -> Compiled {
    read(architecture, body).unwrap()
}

/// None for a manifest whose header is no sound one.
fn read(architecture: &str, body: &str) -> Option<Compiled> {
    let header = HEADER.replace("amd64", architecture);
    let text = format!(
        r#"<assembly xmlns="urn:schemas-microsoft-com:asm.v3" manifestVersion="1.0" copyright="Somebody">{header}{body}</assembly>"#
    );
    let document = Element::parse(text.as_bytes()).unwrap();
    let manifest = Manifest::read(&document).ok()?;
    Some(compile(&document, &manifest, &target(Machine::Amd64)).unwrap())
}

fn target(machine: Machine) -> Target {
    Target { machine, language: "de-DE".into(), lacks: [r"HKEY_USERS\S-1-5-19".to_owned()].into() }
}

/// Effects and changes, a line for each.
fn printed(compiled: &Compiled) -> String {
    let mut lines = Vec::new();
    for effect in &compiled.effects {
        lines.push(format!("{:?} {}", effect.kind, effect.what));
        lines.extend(effect.changes.iter().map(|change| format!("  {}", line(change))));
    }
    lines.extend(compiled.left_out.iter().map(|left| format!("- {}: {}", left.what, left.why)));
    lines.join("\n")
}

fn line(change: &Change) -> String {
    let with = |descriptor: &Option<Box<[u8]>>| match descriptor {
        Some(bytes) => format!(" {}", sddl::to_text(bytes).unwrap()),
        None => String::new(),
    };
    match change {
        Change::Directory { path, descriptor, attributes } => {
            format!("mkdir {path} {attributes:#x}{}", with(descriptor))
        }
        Change::Link { payload, path, descriptor, attributes } => {
            format!("link {payload} -> {path} {attributes:#x}{}", with(descriptor))
        }
        Change::Key { key, descriptor } => format!("key {key}{}", with(descriptor)),
        Change::Value { key, name, value, if_absent } => {
            format!("{}[{}] {name} = {}", if *if_absent { "absent " } else { "" }, last(key), shown(value))
        }
        Change::Append { key, name, texts, first } => format!("append {key} {name} {texts:?} {first}"),
        Change::AppendPath { key, name, part, first } => format!("part {key} {name} {part} {first}"),
        other => format!("{other:?}"),
    }
}

/// The end of a key.
fn last(key: &str) -> String {
    let parts: Vec<&str> = key.rsplit('\\').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("\\")
}

fn shown(value: &Value) -> String {
    let units: Vec<u16> = value.data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16_lossy(&units).replace('\0', "|");
    match value.kind {
        kind::SZ => format!("sz {text}"),
        kind::EXPAND_SZ => format!("expand {text}"),
        kind::MULTI_SZ => format!("multi {text}"),
        kind::DWORD => format!("dword {:#x}", u32::from_le_bytes(value.data[..].try_into().unwrap())),
        kind::QWORD => format!("qword {:#x}", u64::from_le_bytes(value.data[..].try_into().unwrap())),
        other => {
            let digits: String = value.data.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("type {other:#x} {digits}").trim_end().to_owned()
        }
    }
}

#[track_caller]
fn check(body: &str, expected: &str) {
    let printed = printed(&compiled(body));
    assert_eq!(printed, expected.trim(), "\n{printed}\n");
}

fn reasons(body: &str) -> Vec<String> {
    compiled(body).left_out.into_iter().map(|left| left.why).collect()
}

const TRUST: &str = r#"<trustInfo><security>
    <requestedPrivileges><requestedExecutionLevel level="asInvoker"/></requestedPrivileges>
    <accessControl><securityDescriptorDefinitions>
    <securityDescriptorDefinition name="FILE" sddl="D:P(A;;FA;;;SY)(A;;GRGX;;;BU)" operationHint="replace" description="of files"/>
    <securityDescriptorDefinition name="DIR" sddl="O:BAG:SYD:P(A;OICI;GA;;;SY)" operationHint="replace"/>
    <securityDescriptorDefinition name="SVC" sddl="D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;GR;;;IU)" operationHint="replace"/>
    <securityDescriptorDefinition name="ABOVE" sddl="(inherit)"/>
    <securityDescriptorDefinition name="ODD" sddl="D:P(what)"/>
    <securityDescriptorDefinition name="MERGED" sddl="D:P(A;;GA;;;SY)" operationHint="merge"/>
    </securityDescriptorDefinitions></accessControl></security></trustInfo>"#;

#[test]
fn files_and_directories() {
    let body = format!(
        r#"<directories>
             <directory destinationPath="$(runtime.system32)\Made\" owner="true" attributes="hidden system">
               <securityDescriptor name="DIR"/><systemProtection behavior="notProtected"/></directory>
             <directory destinationPath="$(runtime.programData)\Made"/>
           </directories>
           <file name="made.exe" destinationPath="$(runtime.system32)\Made\" sourceName="x.exe" sourcePath=".\" importPath="$(build.nttree)\">
             <link destination="$(runtime.windows)\other.exe"/><link destination="$(runtime.help)\"/>
             <securityDescriptor name="FILE"/><signatureInfo><signatureDescriptor pageHash="true"/></signatureInfo></file>
           <file name="sub\deep.txt" destinationPath="$(RUNTIME.Drivers)" attributes="readOnly"><securityDescriptor name="above"/></file>
           <file name="store.dll"><comClass clsid="{{1}}"/></file>
           <file name="root.txt" destinationPath="$(runtime.bootDrive)\"/>{TRUST}"#
    );
    check(
        &body,
        r"
Directory \Windows\System32\Made
  mkdir \Windows\System32\Made 0x6 O:BAG:SYD:P(A;;FA;;;SY)(A;OICIIO;GA;;;SY)
Directory \ProgramData\Made
  mkdir \ProgramData\Made 0x0
File \Windows\System32\Made\made.exe, also \Windows\other.exe, also \Windows\Help\made.exe
  link made.exe -> \Windows\System32\Made\made.exe 0x0 O:SYG:SYD:P(A;;FA;;;SY)(A;;0x1200a9;;;BU)
  link made.exe -> \Windows\other.exe 0x0 O:SYG:SYD:P(A;;FA;;;SY)(A;;0x1200a9;;;BU)
  link made.exe -> \Windows\Help\made.exe 0x0 O:SYG:SYD:P(A;;FA;;;SY)(A;;0x1200a9;;;BU)
File \Windows\System32\drivers\deep.txt
  link sub\deep.txt -> \Windows\System32\drivers\deep.txt 0x1
File \root.txt
  link root.txt -> \root.txt 0x0",
    );
}

#[test]
fn nothing_leaves_the_image() {
    for (name, path) in [
        ("a", r"$(runtime.system32)\..\..\x"),
        ("a", r"C:\Windows"),
        ("a", r"\Windows"),
        ("a", r"$(runtime.nowhere)\x"),
        ("a", r"$(build.nttree)\x"),
        ("a", r"$(runtime.system32)\a:b"),
        ("a", r"$(runtime.system32)\con"),
        ("a", r"$(runtime.system32"),
        ("..", r"$(runtime.system32)"),
        ("$MFT", r"$(runtime.systemDrive)\"),
        (r"..\..\a", r"$(runtime.system32)"),
        ("nul.txt", r"$(runtime.system32)"),
        ("a ", r"$(runtime.system32)"),
        ("a:stream", r"$(runtime.system32)"),
    ] {
        let body = format!(r#"<file name="{name}" destinationPath="{path}"/>"#);
        let compiled = compiled(&body);
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (0, 1), "{name} {path}");
        let body = format!(r#"<directories><directory destinationPath="{path}\{name}"/></directories>"#);
        assert!(self::compiled(&body).effects.is_empty(), "{name} {path}");
    }
}

#[test]
fn values_of_every_type() {
    let body = r#"<registryKeys>
        <registryKey keyName="HKEY_LOCAL_MACHINE\SOFTWARE\Made\" owner="true">
          <registryValue name="" valueType="REG_SZ" value="$(runtime.system32)\a.dll" operationHint="replace" owner="true"/>
          <registryValue name="e" valueType="REG_EXPAND_SZ" value="%SystemRoot%\a"/>
          <registryValue name="d" valueType="REG_DWORD" value="0x0000000A" mutable="true"/>
          <registryValue name="q" valueType="REG_QWORD" value="0A88000000000000"/>
          <registryValue name="b" valueType="REG_BINARY" value="00ffA5"/>
          <registryValue name="m" valueType="REG_MULTI_SZ" value="&quot;a&quot;,&quot;b&quot;"/>
          <registryValue name="x" valueType="REG_MULTI_SZ" value="&quot;c&quot;" operationHint="append"/>
          <registryValue name="n" valueType="REG_NONE" value=""/>
          <registryValue name="nn" valueType="REG_NONE" value="&quot;&quot;"/>
          <registryValue name="t" valueType="00100000" value="01"/>
          <registryValue name="l" valueType="REG_SZ" value="$(string.Hello)"/>
          <securityDescriptor name="ABOVE"/></registryKey>
        <registryKey keyName="HKCR\CLSID\{1}"><overridable/><registryValue name="o" valueType="REG_SZ" value="x"/></registryKey>
        <registryKey keyName="HKEY_CURRENT_USER\Software\Made"/>
        <registryKey keyName="HKEY_USERS\.Default\Made"/>
        <registryKey keyName="hklm\System\CurrentControlSet\Services\Made"><securityDescriptor name="DIR"/></registryKey>
        </registryKeys>
        <localization><resources culture="en-US"><stringTable><string id="hello" value="Hello"/></stringTable></resources>
          <resources culture="de-DE"><stringTable><string id="hello" value="Hallo"/></stringTable></resources></localization>"#;
    check(
        &format!("{body}{TRUST}"),
        r#"
Registry HKEY_LOCAL_MACHINE\SOFTWARE\Made: (default), e, d, q and 7 more
  key HKEY_LOCAL_MACHINE\SOFTWARE\Made
  [SOFTWARE\Made]  = sz C:\Windows\System32\a.dll|
  [SOFTWARE\Made] e = expand %SystemRoot%\a|
  absent [SOFTWARE\Made] d = dword 0xa
  [SOFTWARE\Made] q = qword 0x880a
  [SOFTWARE\Made] b = type 0x3 00ffa5
  [SOFTWARE\Made] m = multi a|b||
  append HKEY_LOCAL_MACHINE\SOFTWARE\Made x ["c"] false
  [SOFTWARE\Made] n = type 0x0
  [SOFTWARE\Made] nn = type 0x0
  [SOFTWARE\Made] t = type 0x100000 01
  [SOFTWARE\Made] l = sz Hallo|
Registry HKEY_LOCAL_MACHINE\SOFTWARE\Classes\CLSID\{1}: o
  key HKEY_LOCAL_MACHINE\SOFTWARE\Classes\CLSID\{1}
  absent [CLSID\{1}] o = sz x|
Registry HKEY_USERS\Default\Software\Made
  key HKEY_USERS\Default\Software\Made
Registry HKEY_USERS\.DEFAULT\Made
  key HKEY_USERS\.DEFAULT\Made
Registry HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Made
  key HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Made O:BAG:SYD:P(A;;KA;;;SY)(A;OICIIO;GA;;;SY)"#,
    );
}

#[test]
fn odd_values_are_left_out() {
    for (kind, value) in [
        ("REG_DWORD", "10"),
        ("REG_DWORD", "0x123456789"),
        ("REG_QWORD", "12"),
        ("REG_BINARY", "0"),
        ("REG_BINARY", "&quot;&quot;"),
        ("REG_NONE", "&quot;0&quot;"),
        ("REG_BINARY", "zz"),
        ("REG_MULTI_SZ", "&quot;a"),
        ("REG_LINK", "x"),
        ("REG_SZ", "$(nothing.known)"),
        ("REG_SZ", "$(dependentAssembly.X.path)\\a"),
        ("+0000001", "00"),
        ("", "x"),
    ] {
        let value = format!(r#"<registryValue name="v" valueType="{kind}" value="{value}"/>"#);
        let left = compiled(&format!(
            r#"<registryKeys><registryKey keyName="HKLM\SOFTWARE\M">{value}</registryKey></registryKeys>"#
        ));
        assert_eq!((left.left_out.len(), left.effects[0].changes.len()), (1, 1), "{value}");
        assert_eq!(left.left_out[0].what, r"registryValue 'v' of HKEY_LOCAL_MACHINE\SOFTWARE\M");
    }
    for key in [
        "",
        "HKLM",
        r"HKLM\HARDWARE\x",
        r"SOFTWARE\x",
        r"HKU\S-1-5-21-1",
        r"HKU\S-1-5-19\x",
        r"HKEY_PERFORMANCE_DATA\x",
    ] {
        let left = compiled(&format!(r#"<registryKeys><registryKey keyName="{key}"/></registryKeys>"#));
        assert_eq!((left.left_out.len(), left.effects.len()), (1, 0), "{key}");
    }
    let deep = format!(r"HKLM\SOFTWARE\{}", r"a\".repeat(600));
    assert_eq!(reasons(&format!(r#"<registryKeys><registryKey keyName="{deep}"/></registryKeys>"#)).len(), 1);
    for name in ["ODD", "MERGED", "NOBODY"] {
        let key =
            format!(r#"<registryKey keyName="HKLM\SOFTWARE\M"><securityDescriptor name="{name}"/></registryKey>"#);
        let left = compiled(&format!("<registryKeys>{key}</registryKeys>{TRUST}"));
        assert_eq!((left.left_out.len(), left.effects.len()), (1, 1), "{name}");
    }
}

/// 32-bit components of a 64-bit Windows, as WOW64 shows it to 32-bit programs.
#[test]
fn components_of_another_width() {
    let body = r#"<file name="a.dll" destinationPath="$(runtime.system32)\"/><file name="b.dll" destinationPath="$(runtime.programFiles)\X"/>
        <file name="c.dll" destinationPath="$(runtime.windows)"/>
        <registryKeys><registryKey keyName="HKEY_LOCAL_MACHINE\SOFTWARE\Made"><registryValue name="p" valueType="REG_SZ" value="$(runtime.system32)"/></registryKey>
          <registryKey keyName="HKEY_CLASSES_ROOT\CLSID\{1}"/><registryKey keyName="HKEY_CLASSES_ROOT\.made"/>
          <registryKey keyName="HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Fonts"/>
          <registryKey keyName="HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\FontsOfMine"/>
          <registryKey keyName="HKLM\SOFTWARE\Wow6432Node\Made"/><registryKey keyName="HKLM\SYSTEM\Made"/></registryKeys>
        <memberships><categoryMembership><id name="Microsoft.Windows.Categories" typeName="SvcHost"/>
          <categoryInstance subcategory="netsvcs"><serviceGroup position="last" serviceName="schedule"/></categoryInstance></categoryMembership></memberships>"#;
    let what = |compiled: &Compiled| compiled.effects.iter().map(|effect| effect.what.clone()).collect::<Vec<_>>();
    let guest = of_architecture("wow64", body);
    let expected = [
        r"\Windows\SysWOW64\a.dll",
        r"\Program Files (x86)\X\b.dll",
        r"\Windows\c.dll",
        "svchost group netsvcs: schedule",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Made: p",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Classes\Wow6432Node\CLSID\{1}",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Classes\.made",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Fonts",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Microsoft\Windows NT\CurrentVersion\FontsOfMine",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Made",
        r"HKEY_LOCAL_MACHINE\SYSTEM\Made",
    ];
    assert_eq!(what(&guest), expected);
    assert!(printed(&guest).contains(r"p = sz C:\Windows\SysWOW64|"));
    assert!(printed(&guest).contains(r#"append HKEY_LOCAL_MACHINE\SOFTWARE\Wow6432Node\Microsoft\Windows NT\CurrentVersion\SvcHost netsvcs ["schedule"]"#));
    assert_eq!(what(&of_architecture("x86", body)), expected);
    assert_eq!(what(&of_architecture("msil", body))[0], r"\Windows\System32\a.dll");

    let text = format!("<assembly>{}</assembly>", HEADER.replace("amd64", "arm"));
    let document = Element::parse(text.as_bytes()).unwrap();
    let manifest = Manifest::read(&document).unwrap();
    for machine in [Machine::Amd64, Machine::X86, Machine::Arm64] {
        assert_eq!(compile(&document, &manifest, &target(machine)).unwrap_err().kind(), Kind::Unsupported, "{machine}");
    }
    assert!(compile(&document, &manifest, &target(Machine::Arm)).is_ok());
}

/// The services of Windows 10 manifests in UFCase's collection, as they stand in the SYSTEM hive of a Windows 10.
#[test]
fn services_as_windows_has_them() {
    let body = format!(
        r#"<memberships><categoryMembership><id name="Microsoft.Windows.Categories.Services" version="10.0.22621.1635" publicKeyToken="31bf3856ad364e35" typeName="Service"/>
        <categoryInstance subcategory="CNG"><serviceData name="CNG" errorControl="critical" start="boot" type="kernelDriver" group="Core"
            imagePath="System32\Drivers\cng.sys" tag="4"/></categoryInstance>
        <categoryInstance><serviceData name="MessagingService" displayName="@%SystemRoot%\system32\MessagingService.dll,-100" errorControl="ignore" start="demand"
            type="win32UserShareProcess" imagePath="%SystemRoot%\system32\svchost.exe -k UnistackSvcGroup" objectName="LocalSystem"
            requiredPrivileges="SeChangeNotifyPrivilege,SeCreateGlobalPrivilege" sidType="unrestricted" dependOnService="rpcss, http">
          <serviceTrigger action="start" subtype="WNF_STATE_CHANGE" type="WnfStateEvent"><triggerData type="binary" value="7518BCA33E039513"/></serviceTrigger>
          <serviceTrigger action="start" subtype="RPC_INTERFACE_EVENT" type="NetworkEndpointEvent"><triggerData type="string" value="6D"/>
            <triggerData type="string" value="&quot;1&quot;,&quot;2&quot;"/></serviceTrigger>
          <serviceTrigger action="stop" subtype="{{E5323777-F976-4f5b-9B55-B94699C46E44}}" type="DeviceInterfaceArrival"/>
          <failureActions resetPeriod="86400" command="&quot;$(runtime.system32)\s.exe&quot; -safemode"><actions>
            <action delay="10000" type="restartService"/><action delay="1000" type="runCommand"/><action delay="10000" type="none"/></actions></failureActions>
          <securityDescriptor name="SVC"/></serviceData></categoryInstance>
        <categoryInstance><serviceData name="Late" start="delayedAuto" type="win32OwnProcess" startAfterInstall="none"/></categoryInstance>
        </categoryMembership></memberships>{TRUST}"#
    );
    check(
        &body,
        r#"
Service service CNG: System32\Drivers\cng.sys, at boot, kernel driver
  key HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\CNG
  [Services\CNG] Type = dword 0x1
  [Services\CNG] Start = dword 0x0
  [Services\CNG] ErrorControl = dword 0x3
  [Services\CNG] ImagePath = expand System32\Drivers\cng.sys|
  [Services\CNG] Group = sz Core|
  [Services\CNG] Tag = dword 0x4
Service service MessagingService: %SystemRoot%\system32\svchost.exe -k UnistackSvcGroup, manual, shared process of a user, LocalSystem
  key HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\MessagingService
  [Services\MessagingService] Type = dword 0x60
  [Services\MessagingService] Start = dword 0x3
  [Services\MessagingService] ErrorControl = dword 0x0
  [Services\MessagingService] ImagePath = expand %SystemRoot%\system32\svchost.exe -k UnistackSvcGroup|
  [Services\MessagingService] DisplayName = sz @%SystemRoot%\system32\MessagingService.dll,-100|
  [Services\MessagingService] ObjectName = sz LocalSystem|
  [Services\MessagingService] DependOnService = multi rpcss|http||
  [Services\MessagingService] RequiredPrivileges = multi SeChangeNotifyPrivilege|SeCreateGlobalPrivilege||
  [Services\MessagingService] ServiceSidType = dword 0x1
  [MessagingService\Security] Security = type 0x3 0100048044000000500000000000000014000000020030000200000000001400fd010200010100000000000512000000000014008d000200010100000000000504000000010100000000000512000000010100000000000512000000
  [Services\MessagingService] FailureActions = type 0x3 8051010000000000010000000300000014000000010000001027000003000000e80300000000000010270000
  [Services\MessagingService] FailureCommand = sz "C:\Windows\System32\s.exe" -safemode|
  [TriggerInfo\0] Type = dword 0x7
  [TriggerInfo\0] Action = dword 0x1
  [TriggerInfo\0] GUID = type 0x3 16287a2d5e0cfc459ce7570e5ecde9c9
  [TriggerInfo\0] Data0 = type 0x3 7518bca33e039513
  [TriggerInfo\0] DataType0 = dword 0x1
  [TriggerInfo\1] Type = dword 0x6
  [TriggerInfo\1] Action = dword 0x1
  [TriggerInfo\1] GUID = type 0x3 67d190bc70943941a9babe0bbbf5b74d
  [TriggerInfo\1] Data0 = type 0x3 360044000000
  [TriggerInfo\1] DataType0 = dword 0x2
  [TriggerInfo\1] Data1 = type 0x3 31000000320000000000
  [TriggerInfo\1] DataType1 = dword 0x2
  [TriggerInfo\2] Type = dword 0x1
  [TriggerInfo\2] Action = dword 0x2
  [TriggerInfo\2] GUID = type 0x3 773732e576f95b4f9b55b94699c46e44
Service service Late: no program, automatic, delayed, own process
  key HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Late
  [Services\Late] Type = dword 0x10
  [Services\Late] Start = dword 0x2
  [Services\Late] ErrorControl = dword 0x1
  [Services\Late] DelayedAutoStart = dword 0x1"#,
    );
}

fn service(attributes: &str, inner: &str) -> Compiled {
    compiled(&format!(
        r#"<memberships><categoryMembership><id typeName="Service"/><categoryInstance>
           <serviceData {attributes}>{inner}</serviceData></categoryInstance></categoryMembership></memberships>"#
    ))
}

#[test]
fn odd_services_are_left_out() {
    for attributes in [
        r#"start="demand" type="kernelDriver""#,
        r#"name="a\b" start="demand" type="kernelDriver""#,
        r#"name="a" start="never" type="kernelDriver""#,
        r#"name="a" type="kernelDriver""#,
        r#"name="a" start="demand" type="kernelDriver" tag="-1""#,
        r#"name="a" start="demand" type="kernelDriver" sidType="odd""#,
        r#"name="a" start="demand" type="kernelDriver" imagePath="$(x)""#,
    ] {
        let compiled = service(attributes, "");
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (0, 1), "{attributes}");
    }
    let sound = r#"name="a" start="demand" type="win32OwnProcess""#;
    for inner in [
        r#"<serviceTrigger type="Custom" subtype="{1}" action="start"/>"#,
        r#"<serviceTrigger type="Custom" subtype="NOBODY" action="start"/>"#,
        r#"<serviceTrigger type="Custom" subtype="DOMAIN_JOIN" action="run"/>"#,
        r#"<serviceTrigger type="Custom" subtype="DOMAIN_JOIN" action="start"><triggerData type="binary" value="0"/></serviceTrigger>"#,
        r#"<serviceTrigger type="Custom" subtype="DOMAIN_JOIN" action="start"><triggerData type="level" value="256"/></serviceTrigger>"#,
        r#"<failureActions resetPeriod="soon"/>"#,
        r#"<failureActions><actions><action type="pray"/></actions></failureActions>"#,
        r#"<securityDescriptor name="nobody"/>"#,
        r#"<unheardOf/>"#,
    ] {
        let compiled = service(sound, inner);
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (1, 1), "{inner}");
        assert_eq!(compiled.effects[0].changes.len(), 4, "{inner}");
    }
    let long = format!(
        r#"<serviceTrigger type="Custom" subtype="DOMAIN_JOIN" action="start"><triggerData type="binary" value="{}"/></serviceTrigger>"#,
        "00".repeat(1025)
    );
    assert_eq!(service(sound, &long).left_out.len(), 1);
    let many = r#"<serviceTrigger type="Custom" subtype="DOMAIN_JOIN" action="start"/>"#.repeat(1030);
    assert_eq!(service(sound, &many).left_out.len(), 6);
}

#[test]
fn categories() {
    let of = |kind: &str, inner: &str| {
        format!(
            r#"<memberships><categoryMembership><id name="Microsoft.Windows.Categories" version="1.0.0.0" publicKeyToken="365143bb27e7ac8b" typeName="{kind}"/>{inner}</categoryMembership></memberships>"#
        )
    };
    let instance = |inner: &str| format!(r#"<categoryInstance subcategory="Camera">{inner}</categoryInstance>"#);
    check(
        &of("SvcHost", &instance(r#"<serviceGroup position="first" serviceName="FrameServer"/>"#)),
        r#"
SvcHost svchost group Camera: FrameServer
  append HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\SvcHost Camera ["FrameServer"] true"#,
    );
    check(
        &of("Environment", &instance(r#"<path name="%SystemRoot%\Made" position="last"/>"#).replace("Camera", "path")),
        r"
Environment Path: %SystemRoot%\Made
  part HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Session Manager\Environment Path %SystemRoot%\Made false",
    );
    for mark in MARKED {
        check(&of(mark, ""), "");
        check(&of(mark, "<categoryInstance/>"), "");
        check(&of(mark, &instance("")), "");
        let odd = compiled(&of(mark, r#"<categoryInstance odd="1"><path name="a"/></categoryInstance>"#));
        assert_eq!((odd.effects.len(), odd.left_out.len()), (0, 2), "{mark}");
    }
    check("<memberships><categoryMembership><id name=\"Some-Foundation\"/></categoryMembership></memberships>", "");
    for odd in [
        of("SvcHost", &instance(r#"<serviceGroup position="middle" serviceName="x"/>"#)),
        of("Environment", &instance(r#"<path name="a;b"/>"#).replace("Camera", "path")),
        of("Environment", &instance(r#"<path name="a"/>"#)),
        of("Unheard", ""),
        of("Unheard", &instance("")),
        of("Service", &instance("<other/>")),
    ] {
        let compiled = compiled(&odd);
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (0, 1), "{odd}");
    }
}

const MARKED: [&str; 3] = ["BootCritical", "SingleInstanceFiles", "ServicingStackComponent"];

/// The rule of SmbDirect (UFCase's collection), in the order of fields of Windows 10's rules.
#[test]
fn rules_of_the_firewall() {
    let rule = |attributes: &str| {
        let base = r#"Action="Allow" Active="FALSE" Dir="In" Name="@FirewallAPI.dll,-28603" internalName="FPSSMBD-iWARP-In-TCP""#;
        compiled(&format!("<firewallRule {base} {attributes}/>"))
    };
    let text = |attributes: &str| rule(attributes).effects[0].what.clone();
    assert_eq!(
        text(
            r#"Binary="System" Desc="@FirewallAPI.dll,-28606" LPort="5445" Profile="Domain, Private, Public" Protocol="6" group="@FirewallAPI.dll,-28602""#
        ),
        "FPSSMBD-iWARP-In-TCP: v2.10|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=5445|App=System|Name=@FirewallAPI.dll,-28603|Desc=@FirewallAPI.dll,-28606|EmbedCtxt=@FirewallAPI.dll,-28602|"
    );
    assert_eq!(
        text(
            r#"Protocol="TCP" Profile="Public,Private" LPort="80,49152-65535,rpc-epmap" RA4="LocalSubnet" RA6="LocalSubnet" App="$(runtime.system32)\svchost.exe" Svc="x" Edge="TRUE" Defer="App""#
        ),
        r"FPSSMBD-iWARP-In-TCP: v2.10|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Private|Profile=Public|LPort=80|LPort2_10=49152-65535|LPort=RPC-EPMap|RA4=LocalSubnet|RA6=LocalSubnet|App=C:\Windows\System32\svchost.exe|Svc=x|Name=@FirewallAPI.dll,-28603|Edge=TRUE|Defer=App|"
    );
    let compiled = rule("");
    assert_eq!(compiled.effects[0].changes.len(), 2);
    for odd in [
        r#"Protocol="tpc""#,
        r#"LPort="65536""#,
        r#"LPort="9-1""#,
        r#"Profile="Home""#,
        r#"RMauth="x""#,
        r#"App="a" Binary="b""#,
        r#"Desc="a|Action=Block""#,
    ] {
        let compiled = rule(odd);
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (0, 1), "{odd}");
    }
}

/// The keys that Microsoft's "Porting an INF to follow driver package isolation" has for such a publisher, and the sessions of a Windows 10.
#[test]
fn publishers_and_channels() {
    let body = r#"<instrumentation xmlns:win="http://manifests.microsoft.com/win/2004/08/windows/events"><events xmlns="http://schemas.microsoft.com/win/2004/08/events">
        <provider guid="{DB66EA65-B7BB-4CA9-8748-334CB5C32400}" name="Made-Provider" symbol="S" message="$(string.x)"
            resourceFileName="%SystemRoot%\system32\made.dll" messageFileName="$(runtime.system32)\made.dll">
          <channels><importChannel chid="S" name="System"/>
            <channel chid="A" name="Made-Provider/Admin" type="Admin" isolation="System" enabled="true"><logging><maxSize>4294967296</maxSize><retention>true</retention></logging></channel>
            <channel chid="D" name="Made-Provider/Debug" type="Debug" isolation="Application" access="O:BAG:SYD:(A;;0x7;;;BA)">
              <publishing><level>0xFF</level><bufferSize>65536</bufferSize><clockType>QPC</clockType></publishing></channel></channels>
          <events><event value="1"/></events><templates/><keywords/></provider><cmi/></events></instrumentation>"#;
    check(
        body,
        r"
Publisher publisher Made-Provider {db66ea65-b7bb-4ca9-8748-334cb5c32400}
  key HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\WINEVT\Publishers\{db66ea65-b7bb-4ca9-8748-334cb5c32400}
  [Publishers\{db66ea65-b7bb-4ca9-8748-334cb5c32400}]  = sz Made-Provider|
  [Publishers\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] ResourceFileName = expand %SystemRoot%\system32\made.dll|
  [Publishers\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] MessageFileName = expand C:\Windows\System32\made.dll|
  [{db66ea65-b7bb-4ca9-8748-334cb5c32400}\ChannelReferences] Count = dword 0x3
  [ChannelReferences\0]  = sz System|
  [ChannelReferences\0] Id = dword 0x8
  [ChannelReferences\0] Flags = dword 0x1
  [ChannelReferences\1]  = sz Made-Provider/Admin|
  [ChannelReferences\1] Id = dword 0x10
  [ChannelReferences\1] Flags = dword 0x0
  [ChannelReferences\2]  = sz Made-Provider/Debug|
  [ChannelReferences\2] Id = dword 0x11
  [ChannelReferences\2] Flags = dword 0x0
  [System\Made-Provider] ProviderGuid = sz {db66ea65-b7bb-4ca9-8748-334cb5c32400}|
  [System\Made-Provider] EventMessageFile = expand C:\Windows\System32\made.dll|
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] Enabled = dword 0x1
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] EnableLevel = dword 0x0
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] LoggerName = sz EventLog-System|
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] MatchAnyKeyword = qword 0xc000000000000000
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] MatchAllKeyword = qword 0x0
  [EventLog-System\{db66ea65-b7bb-4ca9-8748-334cb5c32400}] EnableProperty = dword 0x1
Channel channel Made-Provider/Admin: Admin, System, enabled
  [Channels\Made-Provider/Admin] OwningPublisher = sz {db66ea65-b7bb-4ca9-8748-334cb5c32400}|
  [Channels\Made-Provider/Admin] Enabled = dword 0x1
  [Channels\Made-Provider/Admin] Isolation = dword 0x1
  [Channels\Made-Provider/Admin] ChannelAccess = sz O:BAG:SYD:(A;;0xf0007;;;SY)(A;;0x7;;;BA)(A;;0x3;;;BO)(A;;0x5;;;SO)(A;;0x1;;;IU)(A;;0x3;;;SU)(A;;0x1;;;S-1-5-3)(A;;0x2;;;S-1-5-33)(A;;0x1;;;S-1-5-32-573)|
  [Channels\Made-Provider/Admin] MaxSize = dword 0x0
  [Channels\Made-Provider/Admin] MaxSizeUpper = dword 0x1
  [Channels\Made-Provider/Admin] Retention = dword 0xffffffff
  [Channels\Made-Provider/Admin] Type = dword 0x0
Channel channel Made-Provider/Debug: Debug, Application, disabled
  [Channels\Made-Provider/Debug] OwningPublisher = sz {db66ea65-b7bb-4ca9-8748-334cb5c32400}|
  [Channels\Made-Provider/Debug] Enabled = dword 0x0
  [Channels\Made-Provider/Debug] Isolation = dword 0x0
  [Channels\Made-Provider/Debug] ChannelAccess = sz O:BAG:SYD:(A;;0x7;;;BA)|
  [Channels\Made-Provider/Debug] Type = dword 0x3
  [Channels\Made-Provider/Debug] BufferSize = dword 0x10000
  [Channels\Made-Provider/Debug] ClockType = dword 0x1
  [Channels\Made-Provider/Debug] Level = dword 0xff",
    );
}

#[test]
fn odd_events_are_left_out() {
    let provider = |attributes: &str, channels: &str| {
        compiled(&format!(
            r#"<instrumentation><events><provider {attributes}><channels>{channels}</channels></provider></events></instrumentation>"#
        ))
    };
    for attributes in ["", r#"name="a" guid="{1}""#, r#"name="a\b" guid="{db66ea65-b7bb-4ca9-8748-334cb5c32400}""#] {
        assert_eq!(provider(attributes, "").effects.len(), 0, "{attributes}");
        assert_eq!(provider(attributes, "").left_out.len(), 1, "{attributes}");
    }
    let sound = r#"name="a" guid="{db66ea65-b7bb-4ca9-8748-334cb5c32400}""#;
    for channel in [
        r#"<channel type="Admin"/>"#,
        r#"<channel name="a\b" type="Admin"/>"#,
        r#"<channel name="a" type="Loud"/>"#,
        r#"<channel name="a" type="Admin" value="x"/>"#,
        r#"<channel name="a" type="Admin"><logging><maxSize>x</maxSize></logging></channel>"#,
        r#"<channel name="a" type="Debug"><publishing><level>x</level></publishing></channel>"#,
        r#"<channel name="a" type="Debug"><publishing><keywords>4</keywords></publishing></channel>"#,
        r#"<channel name="a" type="Admin" isolation="Custom" enabled="true"/>"#,
        r#"<importChannel name="Somebody/Else"/>"#,
        "<what/>",
    ] {
        let compiled = provider(sound, channel);
        assert_eq!(compiled.left_out.len(), 1, "{channel}");
    }
    let many = r#"<channel name="a" type="Admin"/>"#.repeat(20);
    assert_eq!(provider(sound, &many).left_out.len(), 4);
}

#[test]
fn drivers_by_their_inf_file_or_their_own_keys() {
    let files = r#"<file name="made.inf" destinationPath="$(runtime.inf)\"><infFile/></file><file name="made.sys" destinationPath="$(runtime.drivers)\"/>"#;
    let what = |compiled: Compiled| compiled.effects.into_iter().map(|effect| effect.what).collect::<Vec<_>>();
    let placed = [r"\Windows\INF\made.inf", r"\Windows\System32\drivers\made.sys"];
    assert_eq!(what(compiled(files)), ["driver made.inf, and the files that it names", placed[0], placed[1]]);
    let whole = read("amd64\" type=\"dualModeDriver", files).unwrap();
    assert_eq!(what(whole), ["driver made.inf, and the files that it names"]);
    let keys = r#"<registryKeys><registryKey keyName="HKEY_LOCAL_MACHINE\SYSTEM\DriverDatabase\DriverPackages\made.inf_amd64_1"/></registryKeys>"#;
    let compiled = compiled(&format!("{files}{keys}"));
    assert!(compiled.effects.iter().all(|effect| effect.kind != EffectKind::Driver));
    assert_eq!((compiled.effects.len(), compiled.left_out.len()), (3, 0));
}

#[test]
fn what_is_known_and_what_takes_a_running_windows() {
    check(
        r#"<localization/><rescache/><migration><x y="z"/></migration><configuration><configurationSchema/></configuration><deconstructionTool/>
           <languagePack/><deployment/>"#,
        "",
    );
    for element in [
        r#"<genericCommands><genericCommand executableName="x"/></genericCommands>"#,
        r#"<mof name="$(runtime.wbem)\a.mof"/>"#,
        r#"<networkComponents><filterDriver/></networkComponents>"#,
        r#"<taskScheduler><Task/></taskScheduler>"#,
        r#"<SppInstaller/>"#,
        r#"<imaging><sysprepInformation/></imaging>"#,
        r#"<SecureBoot UpdateType="DbxOnly"/>"#,
        r#"<instrumentation><counters/></instrumentation>"#,
        r#"<file name="a"><gac/></file>"#,
    ] {
        let compiled = compiled(element);
        assert_eq!((compiled.effects.len(), compiled.left_out.len()), (0, 1), "{element}");
        assert!(!compiled.left_out[0].why.is_empty());
    }
}

/// Whatever nobody asked for is left out, where it stands.
#[test]
fn nothing_unknown_is_passed_over() {
    let body = r#"<brandNew a="b"><c/></brandNew>
<file name="a" destinationPath="$(runtime.windows)" newAttribute="x"/>
<registryKeys newer="1"><registryKey keyName="HKLM\SOFTWARE\M"><newChild/></registryKey></registryKeys>"#;
    let compiled = compiled(body);
    let left: Vec<_> = compiled.left_out.iter().map(|left| (left.what.as_str(), left.line)).collect();
    assert_eq!(
        left,
        [
            ("brandNew", 2),
            ("file@newAttribute: x", 3),
            ("registryKeys@newer: 1", 4),
            ("registryKeys/registryKey/newChild", 4),
        ]
    );
}

/// Attributes of all kinds with values that nobody expects: no panic, and no effect outside the image.
#[test]
fn hostile_values() {
    let elements = [
        r#"<file name="@" destinationPath="$(runtime.windows)\x" attributes="hidden"><link destination="@"/><securityDescriptor name="@"/></file>"#,
        r#"<file name="a" destinationPath="@" attributes="@"/>"#,
        r#"<directories><directory destinationPath="@" attributes="@"/></directories>"#,
        r#"<registryKeys><registryKey keyName="@"><registryValue name="@" valueType="@" value="@" operationHint="@" mutable="@"/></registryKey></registryKeys>"#,
        r#"<registryKeys><registryKey keyName="HKLM\SOFTWARE\@"><registryValue name="@" valueType="REG_MULTI_SZ" value="@"/></registryKey></registryKeys>"#,
        r#"<memberships><categoryMembership><id typeName="Service"/><categoryInstance><serviceData name="@" start="demand" type="adapter" imagePath="@" tag="@"><serviceTrigger type="Custom" subtype="@" action="start"><triggerData type="string" value="@"/></serviceTrigger><failureActions resetPeriod="@"/></serviceData></categoryInstance></categoryMembership></memberships>"#,
        r#"<memberships><categoryMembership><id typeName="SvcHost"/><categoryInstance subcategory="@"><serviceGroup serviceName="@" position="@"/></categoryInstance></categoryMembership></memberships>"#,
        r#"<firewallRule internalName="@" Action="@" Dir="@" LPort="@" Protocol="@"/>"#,
        r#"<instrumentation><events><provider name="@" guid="@" resourceFileName="@"><channels><channel name="@" type="@" value="@"/></channels></provider></events></instrumentation>"#,
        r#"<trustInfo><security><accessControl><securityDescriptorDefinitions><securityDescriptorDefinition name="@" sddl="@"/></securityDescriptorDefinitions></accessControl></security></trustInfo>"#,
    ];
    let long = "9".repeat(5000);
    let values = [
        "",
        " ",
        "$(",
        "$()",
        ")",
        "$(runtime.)",
        "$(runtime.windows)",
        "..",
        r"..\..",
        r"\",
        r"\\?\C:\x",
        "//",
        "CON",
        "\u{e4}\u{1F600}",
        "0x",
        "-1",
        "+1",
        "18446744073709551616",
        "4294967296",
        "{",
        "{}",
        "D:(A;;GA;;;",
        "O:",
        "\"",
        "\",\"",
        ",",
        ";",
        "|",
        "true",
        &long,
        r"HKLM\SOFTWARE\x",
        r"$(runtime.windows)\..\..\x",
        "S-1-5-18",
        "@",
    ];
    for element in elements {
        for value in values {
            let value = value.replace('"', "&quot;");
            let Some(compiled) = read("amd64", &element.replace('@', &value)) else { continue };
            for change in compiled.effects.iter().flat_map(|effect| &effect.changes) {
                let (Change::Link { path, .. } | Change::Directory { path, .. }) = change else { continue };
                assert!(path.is_empty() || path.starts_with('\\') && !path.contains(".."), "{path}");
            }
        }
    }
}
