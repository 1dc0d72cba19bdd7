//! Machines that are set up offline, read back with other people's tools; and where the password is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::program::{demo_wim, fail, nanovhd, output, succeed};
use crate::support::tools::{Tools, text};

const PASSWORD: &str = "C0rrect-Horse-Gr\u{fc}n";

/// What Nano Server's hives have, and the demo's do not.
const NANO: &str = r#"Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\WinRM]
"Start"=dword:00000003
[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters]
"HostName"="minwinpc"
[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy]
"PolicyVersion"=dword:0000021a
[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules]
"RemoteEventLogSvc-In-TCP"="v2.26|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=RPC|EmbedCtxt=@FirewallAPI.dll,-29252|"
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Time Zones\Pacific Standard Time]
"MUI_Std"="@tzres.dll,-212"
"MUI_Dlt"="@tzres.dll,-211"
"TZI"=hex:e0,01,00,00,00,00,00,00,c4,ff,ff,ff,00,00,0b,00,00,00,01,00,02,00,00,00,00,00,00,00,00,00,03,00,00,00,02,00,02,00,00,00,00,00,00,00
"#;

/// A folder with the demo's WIM and what a user would have.
struct Desk {
    folder: tempfile::TempDir,
    wim: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wim = demo_wim(folder.path());
        fs::write(folder.path().join("nano.reg"), NANO).unwrap();
        fs::write(folder.path().join("password.txt"), format!("\u{feff}{PASSWORD}\r\nnot this\r\n")).unwrap();
        Self { folder, wim }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build_arguments(&self, image: &str, options: &[&str]) -> Vec<String> {
        let (output, reg) = (self.path(image), self.path("nano.reg"));
        let fixed = [
            "build",
            "--wim",
            text(&self.wim),
            "--image=2",
            "--size=64M",
            "--output",
            text(&output),
            "--reg",
            text(&reg),
        ];
        fixed.iter().chain(options).map(ToString::to_string).collect()
    }

    /// The volume of a raw image, alone in a file.
    fn volume(&self, image: &str) -> PathBuf {
        let volume = self.path(&format!("{image}.volume"));
        fs::write(&volume, &fs::read(self.path(image)).unwrap()[1 << 20..]).unwrap();
        volume
    }
}

/// A file of a volume, by ntfs-3g, in a file of the host.
fn extracted(tools: &Tools, volume: &Path, file: &str) -> PathBuf {
    let bytes = tools.run_for_bytes("ntfscat", &["-q", text(volume), file]);
    let target = volume.with_extension(file.rsplit('/').next().unwrap().replace('.', "-"));
    fs::write(&target, bytes).unwrap();
    target
}

fn hive(tools: &Tools, hive: &Path, key: &str, value: &str) -> String {
    tools.run("hivexget", &[text(hive), key, value]).trim().to_owned()
}

/// Where a needle is in a haystack.
fn places(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    (0..haystack.len().saturating_sub(needle.len()))
        .filter(|at| haystack[*at] == needle[0] && haystack[*at..].starts_with(needle))
        .collect()
}

/// What hides the password: UTF-16 of it with the element's name, in base64.
fn hidden(tools: &Tools, folder: &Path) -> String {
    let plain = folder.join("plain");
    fs::write(&plain, format!("{PASSWORD}AdministratorPassword")).unwrap();
    let wide = tools.run_for_bytes("iconv", &["-f", "UTF-8", "-t", "UTF-16LE", text(&plain)]);
    fs::write(&plain, wide).unwrap();
    let encoded = tools.run("base64", &["--wrap=0", text(&plain)]);
    fs::remove_file(plain).unwrap();
    encoded
}

#[test]
fn what_is_set_up_is_read_back_by_others() {
    let names = ["ntfscat", "hivexget", "reglookup", "xmllint", "file", "iconv", "base64", "openssl"];
    let Some(tools) = Tools::find(&names) else { return };
    let desk = Desk::new();
    let password = desk.path("password.txt");
    let arguments = desk.build_arguments(
        "a.img",
        &[
            "--computer-name=web01",
            "--admin-password-file",
            text(&password),
            "--time-zone=Pacific Standard Time",
            "--winrm-https",
            "--winrm-basic",
            "--setup-complete=echo \"100%% done\" > C:\\done.txt",
            "--json",
        ],
    );
    let report: Value = serde_json::from_str(&succeed(arguments)).unwrap();
    let volume = desk.volume("a.img");

    let system = extracted(&tools, &volume, "/Windows/System32/config/SYSTEM");
    let of_system = |key: &str, value: &str| hive(&tools, &system, &format!(r"ControlSet001\{key}"), value);
    assert_eq!(of_system(r"Control\ComputerName\ComputerName", "ComputerName"), "web01");
    assert_eq!(of_system(r"Services\Tcpip\Parameters", "Hostname"), "web01");
    assert_eq!(of_system(r"Services\Tcpip\Parameters", "NV Hostname"), "web01");
    assert_eq!(of_system(r"Services\WinRM", "Start"), "2");
    assert_eq!(of_system(r"Control\TimeZoneInformation", "TimeZoneKeyName"), "Pacific Standard Time");
    assert_eq!(of_system(r"Control\TimeZoneInformation", "Bias"), "480");
    let rules = r"Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules";
    for port in [5985, 5986] {
        let rule = of_system(rules, &format!("nanovhd-WinRM-{port}-In-TCP"));
        assert_eq!(
            rule,
            format!("v2.26|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort={port}|App=System|Name=WinRM {port}|")
        );
    }
    assert!(of_system(rules, "RemoteEventLogSvc-In-TCP").contains("|Active=TRUE|"));
    let software = extracted(&tools, &volume, "/Windows/System32/config/SOFTWARE");
    let wsman = |key: &str, value: &str| {
        hive(&tools, &software, &format!(r"Microsoft\Windows\CurrentVersion\WSMAN\{key}"), value)
    };
    assert_eq!(wsman(r"Listener\*+HTTP", "Port"), "5985");
    assert_eq!(wsman(r"Listener\*+HTTPS", "Port"), "5986");
    assert_eq!(wsman("Service", "allow_unencrypted"), "1");
    let listed = tools.run("reglookup", &["-p", "/Microsoft/Windows/CurrentVersion/WSMAN", text(&software)]);
    assert!(listed.contains("/Listener/*+HTTPS/uriprefix,SZ,wsman"), "{listed}");

    // The certificate, whose thumbprint is in the registry and in the report.
    let thumbprint = wsman(r"Listener\*+HTTPS", "certThumbprint");
    let steps = report["steps"].to_string();
    assert!(steps.contains(&thumbprint), "{steps}");
    let pfx = extracted(&tools, &volume, "/Windows/Setup/Scripts/winrm-https.pfx");
    check_certificate(&tools, desk.folder.path(), &pfx, &thumbprint);

    // The answer file.
    let answers = extracted(&tools, &volume, "/Windows/Panther/unattend.xml");
    let setting = |pass: &str, path: &str| {
        let query = format!(
            "string(/*[local-name()='unattend']/*[@pass='{pass}']/*[@name='Microsoft-Windows-Shell-Setup' and @processorArchitecture='amd64']{})",
            path.split('/').map(|name| format!("/*[local-name()='{name}']")).collect::<String>()
        );
        tools.run("xmllint", &["--xpath", &query, text(&answers)]).trim().to_owned()
    };
    assert_eq!(setting("specialize", "ComputerName"), "web01");
    assert_eq!(setting("oobeSystem", "TimeZone"), "Pacific Standard Time");
    assert_eq!(setting("oobeSystem", "UserAccounts/AdministratorPassword/PlainText"), "false");
    let value = setting("oobeSystem", "UserAccounts/AdministratorPassword/Value");
    assert_eq!(value, hidden(&tools, desk.folder.path()));
    let root = tools.run("xmllint", &["--xpath", "namespace-uri(/*)", text(&answers)]);
    assert_eq!(root.trim(), "urn:schemas-microsoft-com:unattend");

    // The script.
    let script = extracted(&tools, &volume, "/Windows/Setup/Scripts/SetupComplete.cmd");
    let kind = tools.run("file", &["--brief", text(&script)]);
    assert!(kind.contains("DOS batch file, ASCII text") && kind.contains("with CRLF line terminators"), "{kind}");
    let words = fs::read_to_string(&script).unwrap();
    let at = |what: &str| words.find(what).unwrap_or_else(|| panic!("{what} in {words}"));
    assert!(at("echo \"100%% done\" > C:\\done.txt\r\n") > at("exit /b 0"), "a subroutine");
    assert!(at("step2\"") < at(r#"del /f /q /a "%SystemRoot%\Panther\unattend.xml""#));
    assert!(words.contains(r#"del /f /q /a "%SystemRoot%\Setup\Scripts\winrm-https.pfx""#));
}

/// What OpenSSL finds in a PFX: a certificate of that thumbprint for the machine, and its key.
fn check_certificate(tools: &Tools, folder: &Path, pfx: &Path, thumbprint: &str) {
    let (pem, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let open = ["pkcs12", "-in", text(pfx), "-passin", "pass:nanovhd", "-nodes"];
    tools.run("openssl", &[&open[..], &["-nokeys", "-out", text(&pem)]].concat());
    tools.run("openssl", &[&open[..], &["-nocerts", "-out", text(&key)]].concat());
    let x509 = |options: &[&str]| tools.run("openssl", &[&["x509", "-in", text(&pem), "-noout"], options].concat());
    let fingerprint = x509(&["-fingerprint", "-sha1"]).trim().replace(':', "");
    assert!(fingerprint.ends_with(&format!("={thumbprint}")), "{fingerprint} {thumbprint}");
    assert_eq!(x509(&["-pubkey"]), tools.run("openssl", &["pkey", "-in", text(&key), "-pubout"]));
    assert!(x509(&["-checkhost", "web01"]).contains("does match certificate"));
    let purposes = x509(&["-purpose"]);
    assert!(purposes.contains("SSL server : Yes") && purposes.contains("SSL client : No"), "{purposes}");
    tools.run("openssl", &["verify", "-CAfile", text(&pem), "-purpose", "sslserver", text(&pem)]);
    let bags = tools.run("openssl", &["pkcs12", "-in", text(pfx), "-passin", "pass:nanovhd", "-noenc", "-info"]);
    assert!(
        bags.contains("Microsoft Software Key Storage Provider") && bags.contains("Microsoft Local Key set"),
        "{bags}"
    );
}

#[test]
fn the_password_is_in_the_protected_place_and_nowhere_else() {
    let Some(tools) = Tools::find(&["ntfscat", "ntfssecaudit", "iconv", "base64"]) else { return };
    let desk = Desk::new();
    let password = desk.path("password.txt");
    let arguments =
        desk.build_arguments("a.img", &["--admin-password-file", text(&password), "--computer-name=web01", "--json"]);
    let mut command = nanovhd(arguments);
    command.env("NANOVHD_LOG", "trace").env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(Stdio::piped());
    let secret = hidden(&tools, desk.folder.path());
    let wide: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forms = [PASSWORD.as_bytes(), &wide, secret.as_bytes()];

    let child = command.spawn().unwrap();
    for what in ["cmdline", "environ"] {
        let seen = fs::read(format!("/proc/{}/{what}", child.id())).unwrap_or_default();
        assert!(forms.iter().all(|form| places(&seen, form).is_empty()), "{what}");
    }
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for said in [&done.stdout, &done.stderr] {
        assert!(forms.iter().all(|form| places(said, form).is_empty()), "{}", String::from_utf8_lossy(said));
    }

    let image = fs::read(desk.path("a.img")).unwrap();
    assert!(places(&image, forms[0]).is_empty(), "as it is");
    assert!(places(&image, forms[1]).is_empty(), "in UTF-16");
    assert_eq!(places(&image, forms[2]).len(), 1, "hidden, in one place");
    let volume = desk.volume("a.img");
    let answers = tools.run_for_bytes("ntfscat", &["-q", text(&volume), "/Windows/Panther/unattend.xml"]);
    assert_eq!(places(&answers, forms[2]).len(), 1, "which is the answer file");
    // By ntfs-3g's dump (MS-DTYP 2.4): protected, and two entries, which give SYSTEM and Administrators everything.
    let audit = tools.run("ntfssecaudit", &["-v", text(&volume), "/Windows/Panther/unattend.xml"]);
    for words in [
        "01000490 48000000 58000000 00000000",
        "14000000 02003400 02000000 00001400",
        "ff011f00 01010000 00000005 12000000",
        "00001800 ff011f00 01020000 00000005",
    ] {
        assert!(audit.contains(words), "{words} in {audit}");
    }

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(desk.path("a.img")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_disks_ids_do_not_tell_the_password() {
    let desk = Desk::new();
    let password = desk.path("password.txt");
    let build = |image: &str| {
        let arguments = desk.build_arguments(image, &["--admin-password-file", text(&password), "--json"]);
        let mut report: Value = serde_json::from_str(&succeed(arguments)).unwrap();
        report["disk"]["id"].take()
    };
    let first = build("a.img");
    fs::write(&password, "An0ther-Password").unwrap();
    assert_eq!(first, build("b.img"));
    assert!(first.is_string());
}

#[test]
fn the_password_comes_from_standard_input_too_and_never_from_an_argument() {
    let Some(tools) = Tools::find(&["ntfscat", "iconv", "base64"]) else { return };
    let desk = Desk::new();
    let password = fs::File::open(desk.path("password.txt")).unwrap();
    let mut command = nanovhd(desk.build_arguments("a.img", &["--admin-password-file=-"]));
    command.stdin(password);
    let done = output(command);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let volume = desk.volume("a.img");
    let answers = tools.run("ntfscat", &["-q", text(&volume), "/Windows/Panther/unattend.xml"]);
    assert!(answers.contains(&hidden(&tools, desk.folder.path())));
    let help = succeed(["build", "--help"]);
    assert!(!help.contains("--admin-password <") && !help.contains("--password"));
}

#[test]
fn an_answer_file_is_checked_and_joined() {
    let Some(tools) = Tools::find(&["ntfscat", "xmllint"]) else { return };
    let desk = Desk::new();
    let given = desk.path("given.xml");
    let component = |architecture: &str, inner: &str| {
        format!(
            "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"><settings pass=\"specialize\"><component \
             name=\"Microsoft-Windows-Shell-Setup\" processorArchitecture=\"{architecture}\">{inner}</component></settings></unattend>"
        )
    };
    let inner = "<ComputerName>old</ComputerName><RegisteredOwner>A &amp; B</RegisteredOwner>";
    fs::write(&given, component("amd64", inner)).unwrap();
    let command = nanovhd(desk.build_arguments("a.img", &["--unattend", text(&given), "--computer-name=new"]));
    let done = output(command);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success()
            && said.contains(r#"--computer-name "new" replaces the answer file's ComputerName "old""#),
        "{said}"
    );
    let answers = extracted(&tools, &desk.volume("a.img"), "/Windows/Panther/unattend.xml");
    let all = tools.run(
        "xmllint",
        &["--xpath", "//*[local-name()='ComputerName' or local-name()='RegisteredOwner']/text()", text(&answers)],
    );
    assert!(all.contains("new") && all.contains("A &amp; B") && !all.contains("old"), "{all}");

    fs::write(&given, component("x86", "")).unwrap();
    let (code, complaint) = fail(desk.build_arguments("b.img", &["--unattend", text(&given)]));
    assert!(complaint.contains("is for another processor: found x86, allowed: amd64"), "{complaint}");
    assert_ne!(code, 0);
    assert!(!desk.path("b.img").exists());
    let (_, complaint) = fail(desk.build_arguments("b.img", &["--time-zone=Pacfic Standard Time"]));
    assert!(complaint.contains("did you mean Pacific Standard Time?"), "{complaint}");
}

#[test]
fn a_machine_that_is_made_is_set_up_anew() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexget"]) else { return };
    let desk = Desk::new();
    let password = desk.path("password.txt");
    let image = desk.path("a.img");
    succeed(desk.build_arguments(
        "a.img",
        &["--computer-name=base", "--admin-password-file", text(&password), "--setup-complete=echo one"],
    ));
    succeed(["edit", text(&image), "--computer-name=web02", "--setup-complete=echo two", "--winrm"]);
    let volume = desk.volume("a.img");
    let system = extracted(&tools, &volume, "/Windows/System32/config/SYSTEM");
    assert_eq!(hive(&tools, &system, r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName"), "web02");
    let answers = tools.run("ntfscat", &["-q", text(&volume), "/Windows/Panther/unattend.xml"]);
    assert!(answers.contains("<ComputerName>web02<") && answers.contains("<AdministratorPassword>"));
    let script = tools.run("ntfscat", &["-q", text(&volume), "/Windows/Setup/Scripts/SetupComplete.cmd"]);
    assert!(script.find("echo one").unwrap() < script.find("echo two").unwrap());
    assert!(script.contains(r"Panther\unattend.xml"));
    succeed(["verify", text(&image)]);
}
