//! `firewallRule`: a rule of the firewall, in the words that the firewall reads (MS-GPFAS 2.2.2.19).
//!
//! ```text
//! firewallRule [internalName, Action, Active, Dir, Protocol, Profile, LPort, RPort, LA4, RA4, LA6, RA6, ICMP4, ICMP6, Binary, Service,
//!               Name, Desc, group, Edge, Defer]
//! v2.10|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Domain|LPort=445|App=System|Name=@FirewallAPI.dll,-28511|EmbedCtxt=...|
//! ```
//!
//! Fields are in the order in which Windows 10 has them. Rules of components are in two places: in force, and among those to which `netsh advfirewall
//! reset` goes back. They are written in version 2.10, which every firewall since Windows 7 reads, and of which Windows 10 has rules itself. A rule of which
//! anything is not known is left out as a whole: without a restriction it would let in more than it should.

use super::files::is_one_of;
use super::services::values;
use super::{Compiler, EffectKind, Said, list, needed, shortened, truth, word};
use crate::format::assembly::Element;
use crate::format::hive::Value;

const RULES: [&str; 2] = [
    r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules",
    r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Defaults\FirewallPolicy\FirewallRules",
];
const VERSION: &str = "v2.10";

const ACTIONS: [(&str, &str); 3] = [("Allow", "Allow"), ("Block", "Block"), ("ByPass", "ByPass")];
const DIRECTIONS: [(&str, &str); 2] = [("In", "In"), ("Out", "Out")];
const PROFILES: [(&str, &str); 3] = [("Domain", "Domain"), ("Private", "Private"), ("Public", "Public")];
const PROTOCOLS: [(&str, &str); 4] = [("TCP", "6"), ("UDP", "17"), ("ICMPv4", "1"), ("ICMPv6", "58")];
/// Attributes with a text, by the name of the schema or by that of the field, and the field.
const TEXTS: [(&[&str], &str); 5] = [
    (&["Binary", "App"], "App"),
    (&["Service", "Svc"], "Svc"),
    (&["Name"], "Name"),
    (&["Desc"], "Desc"),
    (&["group", "EmbedCtxt"], "EmbedCtxt"),
];
/// Ports that stand for what some service opens.
const PORTS: [(&str, &str); 2] = [("RPC", "RPC"), ("RPC-EPMap", "RPC-EPMap")];

impl Compiler<'_> {
    pub(super) fn firewall_rules(&mut self) {
        for rule in self.document.children("firewallRule") {
            let id = rule.attribute("internalName").unwrap_or_default();
            let what = format!("firewallRule {}", shortened(id));
            let said = self.firewall_rule(rule);
            let Some((id, text)) = self.or_leave(rule, &what, said) else { continue };
            let changes = RULES.iter().flat_map(|key| values(key, vec![(&id, Value::sz(&text))])).collect();
            self.add(EffectKind::Firewall, format!("{id}: {text}"), changes);
        }
    }

    fn firewall_rule(&self, rule: &Element) -> Said<(String, String)> {
        rule.mark_attributes(|name| is_one_of(name, &["buildFilter"]));
        let id = needed(rule, "internalName")?;
        let mut fields = vec![
            ("Action", word(needed(rule, "Action")?, &ACTIONS)?.to_owned()),
            ("Active", flag(rule.filled("Active").unwrap_or("TRUE"))?),
            ("Dir", word(needed(rule, "Dir")?, &DIRECTIONS)?.to_owned()),
        ];
        fields.extend(rule.filled("Protocol").map(protocol).transpose()?.flatten().map(|number| ("Protocol", number)));
        fields.extend(profiles(rule.filled("Profile").unwrap_or_default())?);
        for (attribute, field) in [("ICMP4", "ICMP4"), ("ICMP6", "ICMP6")] {
            fields.extend(list(rule.attribute(attribute).unwrap_or_default()).into_iter().map(|kind| (field, kind)));
        }
        fields.extend(ports(rule, "LPort", ["LPort", "LPort2_10"])?);
        fields.extend(ports(rule, "RPort", ["RPort", "RPort2_10"])?);
        for field in ["LA4", "RA4", "LA6", "RA6"] {
            fields.extend(list(rule.attribute(field).unwrap_or_default()).into_iter().map(|address| (field, address)));
        }
        for (attributes, field) in TEXTS {
            let mut said = attributes.iter().filter_map(|attribute| rule.filled(attribute));
            if let Some(text) = said.next() {
                fields.push((field, self.text(text)?));
            }
            if said.next().is_some() {
                return Err(format!("{field} is said twice"));
            }
        }
        fields.extend(
            rule.filled("Edge").map(flag).transpose()?.filter(|edge| edge == "TRUE").map(|edge| ("Edge", edge)),
        );
        fields.extend(rule.filled("Defer").map(|text| ("Defer", text.to_owned())));
        if let Some(unread) = rule.unread().first() {
            return Err(format!(
                "what {} says is not known, and without it the rule would be another one",
                unread.path
            ));
        }
        if let Some((field, _)) = fields.iter().find(|(_, text)| text.contains(['|', '\0'])) {
            return Err(format!("{field} has a character that ends a field"));
        }
        let fields: String = fields.iter().map(|(field, text)| format!("{field}={text}|")).collect();
        Ok((id.to_owned(), format!("{VERSION}|{fields}")))
    }
}

fn flag(text: &str) -> Said<String> {
    let is = truth(text).ok_or_else(|| format!("'{}' is neither TRUE nor FALSE", shortened(text)))?;
    Ok(if is { "TRUE" } else { "FALSE" }.to_owned())
}

/// A number, or the name of one; none for any protocol.
fn protocol(text: &str) -> Said<Option<String>> {
    match text.parse::<u8>() {
        Ok(number) => Ok(Some(number.to_string())),
        Err(_) if text.eq_ignore_ascii_case("any") || text == "256" => Ok(None),
        Err(_) => word(text, &PROTOCOLS).map(|number| Some(number.to_owned())),
    }
}

/// The profiles of a rule; none for a rule of all of them.
fn profiles(text: &str) -> Said<Vec<(&'static str, String)>> {
    let named = list(text);
    let named: Vec<&str> = named.iter().map(String::as_str).filter(|name| !is_one_of(name, &["any", "all"])).collect();
    let named = named.into_iter().map(|name| word(name, &PROFILES)).collect::<Said<Vec<_>>>()?;
    let wanted = PROFILES.iter().filter(|(_, name)| named.contains(name));
    let fields: Vec<_> = wanted.map(|(_, name)| ("Profile", (*name).to_owned())).collect();
    Ok(if fields.len() == PROFILES.len() { Vec::new() } else { fields })
}

/// Ports: numbers, names, and ranges, which have a field of their own.
fn ports(rule: &Element, attribute: &str, [single, range]: [&'static str; 2]) -> Said<Vec<(&'static str, String)>> {
    let port = |text: &str| text.trim().parse::<u16>().ok();
    let field = |text: String| match text.split_once('-').map(|(from, to)| (port(from), port(to))) {
        Some((Some(from), Some(to))) if from <= to => Ok((range, format!("{from}-{to}"))),
        _ if port(&text).is_some() => Ok((single, text)),
        _ => word(&text, &PORTS).map(|name| (single, name.to_owned())),
    };
    list(rule.attribute(attribute).unwrap_or_default()).into_iter().map(field).collect()
}
