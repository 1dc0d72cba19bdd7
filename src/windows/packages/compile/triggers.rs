//! `serviceTrigger`: what starts or stops a service.
//!
//! ```text
//! serviceTrigger [type, subtype, action] / triggerData [type, value]
//! TriggerInfo\0   Type, Action: REG_DWORD; GUID: REG_BINARY; Data0, Data1, ...: REG_BINARY; DataType0, ...: REG_DWORD
//! ```
//!
//! Texts are stored in UTF-16 with their NUL, lists of texts as those of a REG_MULTI_SZ (`139`, `TCP`, `System` of the service Browser of a Windows 10), and are
//! written as these are. Numbers and identifiers: Microsoft, "SERVICE_TRIGGER structure", and winsvc.h; the state changes of WNF
//! (`WNF_STATE_CHANGE`, type 7): MessagingService of a Windows 10.

use uuid::Uuid;

use super::registry::texts;
use super::{Said, hex, needed, number, shortened, word};
use crate::format::assembly::Element;
use crate::format::hive::Value;

const KINDS: [(&str, u32); 10] = [
    ("DeviceInterfaceArrival", 1),
    ("IpAddressAvailability", 2),
    ("DomainJoin", 3),
    ("FirewallPortEvent", 4),
    ("GroupPolicy", 5),
    ("NetworkEndpointEvent", 6),
    ("WnfStateEvent", 7),
    ("CustomSystemStateChange", 7),
    ("Custom", 20),
    ("Aggregate", 30),
];

const ACTIONS: [(&str, u32); 2] = [("start", 1), ("stop", 2)];

/// Subtypes that have a name; the names of winsvc.h without their `_GUID`.
const SUBTYPES: [(&str, u128); 13] = [
    ("RPC_INTERFACE_EVENT", 0xBC90D167_9470_4139_A9BA_BE0BBBF5B74D),
    ("NAMED_PIPE_EVENT", 0x1F81D131_3FAC_4537_9E0C_7E7B0C2F4B55),
    ("NETWORK_MANAGER_FIRST_IP_ADDRESS_ARRIVAL", 0x4F27F2DE_14E2_430B_A549_7CD48CBC8245),
    ("NETWORK_MANAGER_LAST_IP_ADDRESS_REMOVAL", 0xCC4BA62A_162E_4648_847A_B6BDF993E335),
    ("DOMAIN_JOIN", 0x1CE20ABA_9851_4421_9430_1DDEB766E809),
    ("DOMAIN_LEAVE", 0xDDAF516E_58C2_4866_9574_C3B615D42EA1),
    ("FIREWALL_PORT_OPEN", 0xB7569E07_8421_4EE0_AD10_86915AFDAD09),
    ("FIREWALL_PORT_CLOSE", 0xA144ED38_8E12_4DE4_9D96_E64740B1A524),
    ("MACHINE_POLICY_PRESENT", 0x659FCAE6_5BDB_4DA9_B1FF_CA2A178D46E0),
    ("USER_POLICY_PRESENT", 0x54FB46C8_F089_464C_B1FD_59D1B62C3B50),
    ("CUSTOM_SYSTEM_STATE_CHANGE_EVENT", 0x2D7A2816_0C5E_45FC_9CE7_570E5ECDE9C9),
    ("WNF_STATE_CHANGE", 0x2D7A2816_0C5E_45FC_9CE7_570E5ECDE9C9),
    ("CUSTOM_SYSTEM_STATE_CHANGE", 0x2D7A2816_0C5E_45FC_9CE7_570E5ECDE9C9),
];

const DATA: [(&str, u32); 5] =
    [("binary", BINARY), ("string", STRING), ("level", LEVEL), ("keywordAny", 4), ("keywordAll", 5)];
const BINARY: u32 = 1;
const STRING: u32 = 2;
const LEVEL: u32 = 3;

/// Data items of a trigger (MS-SCMR 2.2.53), and bytes of one ("SERVICE_TRIGGER_SPECIFIC_DATA_ITEM structure").
const MOST_DATA: usize = 64;
const LONGEST_DATA: usize = 1024;

/// The values of a trigger.
pub(super) fn trigger(element: &Element) -> Said<Vec<(String, Value)>> {
    let kind = word(needed(element, "type")?, &KINDS)?;
    let action = word(needed(element, "action")?, &ACTIONS)?;
    let guid = subtype(needed(element, "subtype")?)?;
    let mut values = vec![
        ("Type".to_owned(), Value::dword(kind)),
        ("Action".to_owned(), Value::dword(action)),
        ("GUID".to_owned(), Value::binary(guid.to_bytes_le())),
    ];
    for (index, data) in element.children("triggerData").enumerate() {
        let kind = word(needed(data, "type")?, &DATA)?;
        let bytes = bytes(kind, data.attribute("value").unwrap_or_default())?;
        if bytes.len() > LONGEST_DATA || index >= MOST_DATA {
            return Err(format!("more than {MOST_DATA} data, or one of more than {LONGEST_DATA} bytes"));
        }
        values.push((format!("Data{index}"), Value::binary(bytes)));
        values.push((format!("DataType{index}"), Value::dword(kind)));
    }
    Ok(values)
}

fn subtype(text: &str) -> Said<Uuid> {
    if text.starts_with('{') {
        return Uuid::try_parse(text).map_err(|_| format!("subtype is '{}'", shortened(text)));
    }
    let name = text.strip_suffix("_GUID").unwrap_or(text);
    word(name, &SUBTYPES).map(Uuid::from_u128)
}

fn bytes(kind: u32, text: &str) -> Said<Vec<u8>> {
    let odd = || format!("triggerData is '{}'", shortened(text));
    match kind {
        BINARY => hex(text).ok_or_else(odd),
        STRING if text.starts_with('"') => Ok(Value::multi_sz(texts(text)?).data),
        STRING => Ok(Value::sz(text).data),
        LEVEL => number(text).and_then(|level| u8::try_from(level).ok()).map(|level| vec![level]).ok_or_else(odd),
        _ => number(text).map(|keywords| keywords.to_le_bytes().to_vec()).ok_or_else(odd),
    }
}
