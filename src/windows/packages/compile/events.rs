//! `instrumentation/events`: who writes events, and the channels that they come into.
//!
//! ```text
//! events
//!   provider [guid, name, resourceFileName, messageFileName, parameterFileName]
//!     channels
//!       channel [name, chid, type, isolation, enabled, access, value]      logging (maxSize, retention, autoBackup),
//!                                                                          publishing (bufferSize, clockType, level)
//!       importChannel [name, chid]
//!     events, levels, opcodes, tasks, keywords, maps, templates, filters
//! ```
//!
//! | key | values |
//! |---|---|
//! | `WINEVT\Publishers\{guid}` | name (default), ResourceFileName, MessageFileName, ParameterFileName |
//! | `...\ChannelReferences` | Count |
//! | `...\ChannelReferences\0` | channel (default), Id: from 16, Flags: 1 for one that somebody else has made |
//! | `WINEVT\Channels\name` | OwningPublisher, Enabled, Isolation, ChannelAccess, MaxSize, MaxSizeUpper, Retention, AutoBackupLogFiles, Type, BufferSize, ClockType, Level |
//! | `Control\WMI\Autologger\EventLog-System\{guid}` | the session that starts with the system listens: Enabled, EnableLevel, EnableProperty, LoggerName, MatchAnyKeyword, MatchAllKeyword |
//! | `Services\EventLog\System\name` | ProviderGuid, EventMessageFile: for who writes to one of the three old logs |
//!
//! A channel is a bit among the keywords of its publisher's events, the first the highest. Events, levels, tasks and all that describes them are in a resource
//! of the program (WEVT_TEMPLATE) that `ResourceFileName` names, and nowhere else.
//!
//! Sources: Microsoft, "Porting an INF to follow driver package isolation" (publishers and channels as keys), and the schema of instrumentation manifests;
//! the sessions and old sources in the SYSTEM hive of a Windows 10; Palantir, "Tampering with Windows Event Tracing" (who is not in a session of the event
//! log writes to nobody); the channels of a Windows 10 as tuning scripts have them, SMBDirect's beside its manifest in UFCase's collection.

use uuid::Uuid;

use super::files::is_one_of;
use super::services::values;
use super::{Change, Compiler, EffectKind, Said, needed, number, number_32, shortened, truth, word};
use crate::format::assembly::Element;
use crate::format::hive::Value;

const WINEVT: &str = r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\WINEVT";
const AUTOLOGGER: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\WMI\Autologger";
const SOURCES: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\EventLog";

/// The id of the first channel of a publisher's own.
const FIRST_ID: u32 = 16;
/// Channels of a publisher: the keywords have sixteen bits for them.
const MOST_CHANNELS: usize = 16;
/// `EVENT_ENABLE_PROPERTY_SID`.
const WITH_SID: u32 = 1;

/// The logs that are older than channels, and their ids (winmeta.xml).
const OLD_LOGS: [(&str, u32); 3] = [("System", 8), ("Application", 9), ("Security", 10)];

const KINDS: [(&str, u32); 4] = [("Admin", 0), ("Operational", OPERATIONAL), ("Analytic", 2), ("Debug", 3)];
/// Channels up to this type are read through the event log, others traced.
const OPERATIONAL: u32 = 1;

/// `isolation`: the number, and the session that its channels share.
const ISOLATIONS: [(&str, (u32, Option<&str>)); 3] =
    [("Application", (0, Some("Application"))), ("System", (1, Some("System"))), ("Custom", (2, None))];
/// Who may do what with a channel, by its isolation.
const APPLICATION_ACCESS: &str = "O:BAG:SYD:(A;;0x2;;;S-1-15-2-1)(A;;0xf0007;;;SY)(A;;0x7;;;BA)(A;;0x7;;;SO)(A;;0x3;;;IU)(A;;0x3;;;SU)(A;;0x3;;;S-1-5-3)(A;;0x3;;;S-1-5-33)(A;;0x1;;;S-1-5-32-573)";
const SYSTEM_ACCESS: &str = "O:BAG:SYD:(A;;0xf0007;;;SY)(A;;0x7;;;BA)(A;;0x3;;;BO)(A;;0x5;;;SO)(A;;0x1;;;IU)(A;;0x3;;;SU)(A;;0x1;;;S-1-5-3)(A;;0x2;;;S-1-5-33)(A;;0x1;;;S-1-5-32-573)";

/// `EVT_CHANNEL_CLOCK_TYPE`.
const CLOCKS: [(&str, u32); 2] = [("SystemTime", 0), ("QPC", 1)];

/// Parts of a publisher that are in its program's resource.
const IN_RESOURCE: [&str; 10] =
    ["events", "levels", "opcodes", "tasks", "keywords", "maps", "templates", "filters", "namedQueries", "stringTable"];

/// A publisher of events.
struct Publisher {
    name: String,
    guid: String,
    files: Vec<(&'static str, Value)>,
}

/// One of its channels.
struct Channel {
    name: String,
    id: u32,
    is_imported: bool,
    /// The session that listens to it: by the name of an old log.
    session: Option<&'static str>,
    values: Vec<(&'static str, Value)>,
    what: String,
}

impl Compiler<'_> {
    pub(super) fn events(&mut self) {
        for instrumentation in self.document.children("instrumentation") {
            for events in instrumentation.children("events") {
                // Texts of messages are in the resource too; `cmi` says that the build has checked it.
                events.children("messageTable").chain(events.children("cmi")).for_each(Element::mark_all);
                events.mark_attributes(|name| is_one_of(name, &["schemaLocation"]));
                events.children("provider").for_each(|provider| self.publisher(provider));
            }
            for counters in instrumentation.children("counters") {
                self.leave(
                    counters,
                    "performance counters",
                    "they are registered by lodctr, which gives them numbers among those that are there",
                );
            }
        }
    }

    fn publisher(&mut self, provider: &Element) {
        let name = shortened(provider.attribute("name").unwrap_or_default());
        let said = self.publisher_values(provider);
        let Some(publisher) = self.or_leave(provider, format_args!("publisher {name}"), said) else { return };
        IN_RESOURCE.iter().flat_map(|part| provider.children(part)).for_each(Element::mark_all);
        let channels = self.channels(provider, &publisher);
        let key = format!(r"{WINEVT}\Publishers\{}", publisher.guid);
        let mut changes = vec![Change::Key { key: key.clone(), descriptor: None }];
        changes.extend(values(&key, publisher.files.clone()));
        changes.extend(references(&key, &channels));
        changes.extend(sources(&publisher, &channels));
        changes.extend(sessions(&publisher, &channels));
        self.add(EffectKind::Publisher, format!("publisher {} {}", publisher.name, publisher.guid), changes);
        for channel in channels.into_iter().filter(|channel| !channel.is_imported) {
            let key = format!(r"{WINEVT}\Channels\{}", channel.name);
            self.add(EffectKind::Channel, channel.what, values(&key, channel.values));
        }
    }

    fn publisher_values(&self, provider: &Element) -> Said<Publisher> {
        provider.mark_attributes(|name| is_one_of(name, &["symbol", "message", "helpLink", "buildFilter", "source"]));
        let name = needed(provider, "name")?.to_owned();
        let guid = needed(provider, "guid")?;
        let guid = Uuid::try_parse(guid).map_err(|_| format!("guid is '{}'", shortened(guid)))?;
        let mut files = vec![("", Value::sz(&name))];
        const FILES: [(&str, &str); 3] = [
            ("resourceFileName", "ResourceFileName"),
            ("messageFileName", "MessageFileName"),
            ("parameterFileName", "ParameterFileName"),
        ];
        for (attribute, value) in FILES {
            if let Some(file) = provider.filled(attribute) {
                files.push((value, Value::expand_sz(&self.text(file)?)));
            }
        }
        if name.contains(['\\', '\0']) {
            return Err("its name is none of a key".to_owned());
        }
        Ok(Publisher { name, guid: guid.braced().to_string(), files })
    }

    fn channels(&mut self, provider: &Element, publisher: &Publisher) -> Vec<Channel> {
        let mut channels = Vec::new();
        let mut next_id = FIRST_ID;
        for list in provider.children("channels") {
            list.mark_attributes(|name| is_one_of(name, &["buildFilter"]));
            for element in list.all_children() {
                let is_imported = element.is("importChannel");
                if !is_imported && !element.is("channel") {
                    continue;
                }
                element.mark();
                let said = if channels.len() < MOST_CHANNELS {
                    self.channel(element, publisher, is_imported, next_id)
                } else {
                    Err(format!("a publisher has at most {MOST_CHANNELS} channels"))
                };
                let what = format!("channel {}", shortened(element.attribute("name").unwrap_or_default()));
                let Some(channel) = self.or_leave(element, what, said) else { continue };
                next_id = next_id.max(channel.id.saturating_add(1));
                channels.push(channel);
            }
        }
        channels
    }

    fn channel(&mut self, element: &Element, publisher: &Publisher, is_imported: bool, next_id: u32) -> Said<Channel> {
        element.mark_attributes(|name| is_one_of(name, &["chid", "symbol", "message", "buildFilter"]));
        let name = needed(element, "name")?.to_owned();
        if name.contains(['\\', '\0']) || name.encode_utf16().count() > 255 {
            return Err("its name is none of a key".to_owned());
        }
        let said_id = element
            .filled("value")
            .map(|text| number_32(text).ok_or_else(|| format!("value is '{}'", shortened(text))));
        let said_id = said_id.transpose()?;
        if is_imported {
            return Ok(self.imported_channel(element, name, said_id.unwrap_or(next_id)));
        }
        let kind_word = needed(element, "type")?;
        let kind = word(kind_word, &KINDS)?;
        let isolation_word = element.filled("isolation").unwrap_or("Application");
        let (isolation, session) = word(isolation_word, &ISOLATIONS)?;
        let enabled = element.filled("enabled").unwrap_or("false");
        let is_enabled = truth(enabled).ok_or_else(|| format!("enabled is '{}'", shortened(enabled)))?;
        let default_access = if session == Some("System") { SYSTEM_ACCESS } else { APPLICATION_ACCESS };
        let mut values = vec![
            ("OwningPublisher", Value::sz(&publisher.guid)),
            ("Enabled", Value::dword(is_enabled.into())),
            ("Isolation", Value::dword(isolation)),
            ("ChannelAccess", Value::sz(element.filled("access").unwrap_or(default_access))),
        ];
        for logging in element.children("logging") {
            values.extend(log_file(logging)?);
        }
        values.push(("Type", Value::dword(kind)));
        for publishing in element.children("publishing") {
            values.extend(own_session(publishing)?);
        }
        let listens = is_enabled && kind <= OPERATIONAL;
        if listens && session.is_none() {
            self.leave_part(element, format_args!("session of channel {name}"), "a channel with a session of its own has one that starts with the system, whose identifier Windows makes up");
        }
        let state = if is_enabled { "enabled" } else { "disabled" };
        let what = format!("channel {name}: {kind_word}, {isolation_word}, {state}");
        Ok(Channel {
            name,
            id: said_id.unwrap_or(next_id),
            is_imported: false,
            session: session.filter(|_| listens),
            values,
            what,
        })
    }

    fn imported_channel(&mut self, element: &Element, name: String, id: u32) -> Channel {
        let log = OLD_LOGS.iter().find(|(log, _)| log.eq_ignore_ascii_case(&name));
        let session = log.map(|(log, _)| *log);
        if log.is_none() {
            self.leave_part(
                element,
                format_args!("session of channel {name}"),
                "it belongs to another component, which says the session that listens",
            );
        }
        let id = log.map_or(id, |(_, id)| *id);
        Channel { name, id, is_imported: true, session, values: Vec::new(), what: String::new() }
    }
}

/// The file of a channel.
fn log_file(logging: &Element) -> Said<Vec<(&'static str, Value)>> {
    let mut values = Vec::new();
    let text = |name: &str| logging.child(name).map(Element::text).filter(|text| !text.is_empty());
    if let Some(size) = text("maxSize") {
        let size = number(size).ok_or_else(|| format!("maxSize is '{}'", shortened(size)))?;
        values.push(("MaxSize", Value::dword(size as u32)));
        values.push(("MaxSizeUpper", Value::dword((size >> 32) as u32)));
    }
    for (name, value, on) in [("retention", "Retention", u32::MAX), ("autoBackup", "AutoBackupLogFiles", 1)] {
        if let Some(text) = text(name) {
            let is_on = truth(text).ok_or_else(|| format!("{name} is '{}'", shortened(text)))?;
            values.push((value, Value::dword(if is_on { on } else { 0 })));
        }
    }
    Ok(values)
}

/// The session of a channel that is traced. What else it may have is left out: of which values it would be nobody has told.
fn own_session(publishing: &Element) -> Said<Vec<(&'static str, Value)>> {
    let mut values = Vec::new();
    for (name, value) in [("bufferSize", "BufferSize"), ("clockType", "ClockType"), ("level", "Level")] {
        let Some(text) = publishing.child(name).map(Element::text).filter(|text| !text.is_empty()) else { continue };
        let number = if name == "clockType" { Some(word(text, &CLOCKS)?) } else { number_32(text) };
        values.push((value, Value::dword(number.ok_or_else(|| format!("{name} is '{}'", shortened(text)))?)));
    }
    Ok(values)
}

fn references(key: &str, channels: &[Channel]) -> Vec<Change> {
    let key = format!(r"{key}\ChannelReferences");
    let mut changes = Vec::new();
    if !channels.is_empty() {
        changes.extend(values(&key, vec![("Count", Value::dword(channels.len() as u32))]));
    }
    for (index, channel) in channels.iter().enumerate() {
        let reference = vec![
            ("", Value::sz(&channel.name)),
            ("Id", Value::dword(channel.id)),
            ("Flags", Value::dword(channel.is_imported.into())),
        ];
        changes.extend(values(&format!(r"{key}\{index}"), reference));
    }
    changes
}

/// The old logs know their sources by name.
fn sources(publisher: &Publisher, channels: &[Channel]) -> Vec<Change> {
    let file = ["MessageFileName", "ResourceFileName"]
        .iter()
        .find_map(|name| publisher.files.iter().find(|(file, _)| file == name).map(|(_, value)| value.clone()));
    let logs = channels.iter().filter(|channel| channel.is_imported).filter_map(|channel| channel.session);
    logs.flat_map(|log| {
        let mut source = vec![("ProviderGuid", Value::sz(&publisher.guid))];
        source.extend(file.clone().map(|file| ("EventMessageFile", file)));
        values(&format!(r"{SOURCES}\{log}\{}", publisher.name), source)
    })
    .collect()
}

/// The sessions of the event log listen to a publisher, for the keywords that are its channels.
fn sessions(publisher: &Publisher, channels: &[Channel]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (log, _) in OLD_LOGS {
        let listens = channels.iter().enumerate().filter(|(_, channel)| channel.session == Some(log));
        let keywords = listens.fold(0, |bits, (index, _)| bits | 1_u64 << 63 >> index);
        if keywords != 0 {
            let session = format!("EventLog-{log}");
            let key = format!(r"{AUTOLOGGER}\{session}\{}", publisher.guid);
            changes.extend(values(
                &key,
                vec![
                    ("Enabled", Value::dword(1)),
                    ("EnableLevel", Value::dword(0)),
                    ("LoggerName", Value::sz(&session)),
                    ("MatchAnyKeyword", Value::qword(keywords)),
                    ("MatchAllKeyword", Value::qword(0)),
                    ("EnableProperty", Value::dword(WITH_SID)),
                ],
            ));
        }
    }
    changes
}
