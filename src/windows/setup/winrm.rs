//! Windows Remote Management: what has to be so that it answers on the first start.
//!
//! | what | where | when |
//! |---|---|---|
//! | the service starts by itself | `SYSTEM\…\Services\WinRM`: `Start`, `DelayedAutoStart` | offline |
//! | listeners | `SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Listener\*+HTTP`, `*+HTTPS` | offline |
//! | Basic authentication, without encryption | `…\WSMAN\Service`, `…\WSMAN\Client` | offline |
//! | whom HTTP.SYS lets listen | `SYSTEM\…\Services\HTTP\Parameters\UrlAclInfo` | offline, where it is missing |
//! | which certificate HTTP.SYS shows | `…\HTTP\Parameters\SslBindingInfo\0.0.0.0:5986`, `[::]:5986` | offline |
//! | the firewall | [`firewall`](super::firewall); without rules in the image `netsh` | offline, or first start |
//! | the certificate and its key | a PFX that `certoc` (Nano Server) or `certutil` imports: keys are wrapped with one that each machine makes for itself | first start |
//!
//! Sources: the Chef cookbook winrm-config (names of the values, application id), exports of a fresh installation's WSMAN key,
//! Nano Server's documentation (`certoc -ImportPFX`), NanoServerImageGenerator (which firewall rules).

use uuid::{Uuid, uuid};

use super::changes::Hives;
use super::complete::Step;
use super::firewall::Firewall;
use super::{Changes, Report};
use crate::base::security::{Descriptor, Sid};
use crate::error::Result;
use crate::format::certificate::SelfSigned;
use crate::format::hive::Value;

const WSMAN: &str = r"Microsoft\Windows\CurrentVersion\WSMAN";
const HTTP_SYS: &str = r"Services\HTTP\Parameters";
const HTTP: u16 = 5985;
const HTTPS: u16 = 5986;
const SERVICE_AUTO_START: u32 = 2;

/// "Remote Event Log Management", the group of firewall rules.
const REMOTE_EVENT_LOG: &str = "@FirewallAPI.dll,-29252";

/// Under which WinRM makes itself known to HTTP.SYS.
const APPLICATION: Uuid = uuid!("afebb9ad-9b97-4a91-9ab5-daf4d59122f6");

/// `NT SERVICE\WinRM` and `NT SERVICE\Wecsvc`.
const SERVICES: [Sid<'static>; 2] = [
    Sid::nt(&[80, 569_256_582, 2_953_403_351, 2_909_559_716, 1_301_513_147, 412_116_970]),
    Sid::nt(&[80, 4_059_739_203, 877_974_739, 1_245_631_912, 527_174_227, 2_996_563_517]),
];

/// Where the PFX waits for the first start.
pub(super) const PFX: &str = r"\Windows\Setup\Scripts\winrm-https.pfx";
/// No secret: the format wants a password, and it is the file's descriptor that keeps others out.
const PFX_PASSWORD: &str = "nanovhd";

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct WinRm {
    /// Whether passwords may come as they are, and over connections without TLS: what Vagrant needs.
    pub basic: bool,
    /// The certificate to answer HTTPS with.
    pub https: Option<SelfSigned>,
    /// Whether its key follows from a number that others may know.
    pub guessable: bool,
}

/// Writes all that can be written offline. Gives what is left for the first start.
pub(super) fn write(wanted: &WinRm, hives: &Hives, changes: &mut Changes, report: &mut Report) -> Vec<Step> {
    start_service(hives, changes, report);
    listener(changes, "HTTP", HTTP);
    allow_url(hives, changes, "http", HTTP, &SERVICES);
    if wanted.basic {
        changes.software(&format!(r"{WSMAN}\Service"), "allow_unencrypted", Value::dword(1));
        changes.software(&format!(r"{WSMAN}\Service"), "auth_basic", Value::dword(1));
        changes.software(&format!(r"{WSMAN}\Client"), "auth_basic", Value::dword(1));
        report.done.push("WinRM takes passwords by Basic authentication, also without encryption".into());
        report.warnings.push(
            "WinRM: who can listen on the network can read passwords that come by Basic authentication over HTTP"
                .into(),
        );
    }
    let mut ports = vec![HTTP];
    if let Some(certificate) = &wanted.https {
        ports.push(HTTPS);
        https(certificate, wanted.guessable, hives, changes, report);
    }
    let mut steps = open_firewall(&ports, hives, changes, report);
    if let Some(certificate) = &wanted.https {
        steps.push(import(certificate));
    }
    steps
}

/// The file with the certificate and its key.
pub(super) fn pfx(certificate: &SelfSigned) -> Result<Vec<u8>> {
    certificate.to_pfx(PFX_PASSWORD)
}

fn start_service(hives: &Hives, changes: &mut Changes, report: &mut Report) {
    if hives.control_set(r"Services\WinRM").is_none() {
        report.warnings.push("the image has no WinRM service: nothing will answer".into());
        return;
    }
    changes.system(r"Services\WinRM", "Start", Value::dword(SERVICE_AUTO_START));
    changes.system(r"Services\WinRM", "DelayedAutoStart", Value::dword(0));
    report.done.push(format!("WinRM starts with the machine and listens for HTTP on port {HTTP}"));
}

/// A listener on all addresses.
fn listener(changes: &mut Changes, transport: &str, port: u16) {
    let key = format!(r"{WSMAN}\Listener\*+{transport}");
    changes.software(&key, "Port", Value::dword(u32::from(port)));
    changes.software(&key, "uriprefix", Value::sz("wsman"));
}

/// HTTP.SYS lets nobody listen whom it was not told of. Windows comes with these entries.
fn allow_url(hives: &Hives, changes: &mut Changes, scheme: &str, port: u16, services: &[Sid<'_>]) {
    const GENERIC_EXECUTE: u32 = 0x2000_0000;
    let url = format!("{scheme}://+:{port}/wsman/");
    let key = format!(r"{HTTP_SYS}\UrlAclInfo");
    let known = hives.control_set(&key).and_then(|key| hives.system.value(key, url.as_str()));
    if known.is_none() {
        let allow: Vec<_> = services.iter().map(|service| (*service, GENERIC_EXECUTE, 0)).collect();
        let descriptor =
            Descriptor { owner: Sid::LOCAL_SYSTEM, group: Sid::LOCAL_SYSTEM, protected: false, allow: &allow };
        changes.system(&key, &url, Value::binary(descriptor.to_bytes()));
    }
}

fn https(certificate: &SelfSigned, guessable: bool, hives: &Hives, changes: &mut Changes, report: &mut Report) {
    let thumbprint = certificate.thumbprint();
    let shown = hexadecimal(&thumbprint);
    listener(changes, "HTTPS", HTTPS);
    let key = format!(r"{WSMAN}\Listener\*+HTTPS");
    changes.software(&key, "enabled", Value::dword(1));
    changes.software(&key, "hostname", Value::sz(""));
    changes.software(&key, "certThumbprint", Value::sz(&shown));
    allow_url(hives, changes, "https", HTTPS, &SERVICES[..1]);
    for address in ["0.0.0.0", "[::]"] {
        let key = format!(r"{HTTP_SYS}\SslBindingInfo\{address}:{HTTPS}");
        changes.system(&key, "AppId", Value::binary(APPLICATION.to_bytes_le()));
        changes.system(&key, "SslCertHash", Value::binary(thumbprint));
        changes.system(&key, "SslCertStoreName", Value::sz("MY"));
        for name in [
            "DefaultFlags",
            "DefaultSslCertCheckMode",
            "DefaultSslRevocationFreshnessTime",
            "DefaultSslRevocationUrlRetrievalTimeout",
        ] {
            changes.system(&key, name, Value::dword(0));
        }
    }
    if guessable {
        report
            .warnings
            .push("the certificate's key follows from the chosen seed: who knows that can work out the key".into());
    }
    report.done.push(format!("WinRM listens for HTTPS on port {HTTPS}; certificate (SHA-1) {shown}"));
}

/// Lets connections to the ports in, and those of remote event logs, as NanoServerImageGenerator does.
fn open_firewall(ports: &[u16], hives: &Hives, changes: &mut Changes, report: &mut Report) -> Vec<Step> {
    let names = ports.iter().map(|port| format!("WinRM {port}"));
    let Some(firewall) = Firewall::of(hives) else {
        report.done.push("the image has no firewall rules yet: ports are opened on the first start".into());
        let netsh = "netsh advfirewall firewall";
        let mut commands: Vec<String> = names
            .zip(ports)
            .map(|(name, port)| {
                format!(
                    "{netsh} add rule name=\"{name}\" protocol=TCP dir=in localport={port} profile=any action=allow"
                )
            })
            .collect();
        commands.push(format!("{netsh} set rule group=\"{REMOTE_EVENT_LOG}\" new enable=yes"));
        return vec![Step::new("Open the firewall for WinRM", commands)];
    };
    for (name, port) in names.zip(ports) {
        firewall.allow(changes, &format!("nanovhd-WinRM-{port}-In-TCP"), *port, &name);
    }
    let rules = match firewall.enable(changes, REMOTE_EVENT_LOG) {
        0 => String::new(),
        1 => "; 1 rule for remote event logs is in force".into(),
        rules => format!("; {rules} rules for remote event logs are in force"),
    };
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    report.done.push(format!("the firewall lets TCP {} in{rules}", ports.join(" and ")));
    Vec::new()
}

/// Takes the certificate into the machine's store, and lets the service see it.
fn import(certificate: &SelfSigned) -> Step {
    let file = super::complete::variable_path(PFX);
    let nano = format!(r#"%SystemRoot%\System32\certoc.exe -ImportPFX -p {PFX_PASSWORD} My "{file}""#);
    let others = format!(r#"%SystemRoot%\System32\certutil.exe -f -p {PFX_PASSWORD} -importPFX My "{file}" NoExport"#);
    let commands = vec![
        format!("rem SHA-1 {}", hexadecimal(&certificate.thumbprint())),
        format!(r"if exist %SystemRoot%\System32\certutil.exe ({others}) else ({nano})"),
        "if errorlevel 1 exit 1".to_owned(),
        "powershell.exe -NoProfile -NonInteractive -Command \"Restart-Service WinRM\"".to_owned(),
    ];
    Step::new("Import the certificate of WinRM", commands)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
