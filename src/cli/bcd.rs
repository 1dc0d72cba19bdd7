//! `nanovhd bcd`.

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use super::args::Bcd;
use super::{Env, output};
use crate::error::{Context, Result};
use crate::format::bcd::text::{Words, element_label};
use crate::format::bcd::{Device, Object, Store, code, object_title};
use crate::format::partitions::{Kind, Scheme, Table};
use crate::image::boot_store::{self, BootStore};

/// Behind `nanovhd bcd --help`.
pub(super) const HELP: &str = "\
The store is that of the active partition, or of the EFI system partition, or of the first partition that has one (\\Boot\\BCD or
\\EFI\\Microsoft\\Boot\\BCD); in a WIM without one, the BCD-Template from which it would be made. SOURCE may also be a store itself.
Where bcdedit has a drive letter this has the number of the partition.";

/// bcdedit's list puts the boot managers first and what is inherited last.
const ORDER: [u32; 8] =
    [0x1010_0001, 0x1010_0002, 0x1020_0003, 0x1020_0004, 0x1020_0005, 0x1030_0006, 0x2010_0000, 0x2020_0003];

/// The column in which values begin, as in bcdedit.
const COLUMN: usize = 24;

#[derive(Serialize)]
struct Report {
    store: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    objects: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    title: &'static str,
    #[serde(rename = "type")]
    kind: String,
    elements: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    code: String,
    name: String,
    values: Vec<String>,
}

pub(super) fn run(command: &Bcd, json: bool, env: &mut Env<'_>) -> Result<()> {
    let found = open(command)?;
    let table = found.table.as_ref();
    let words = Words { verbose: command.verbose, partition: &|device| partition_of(table?, device) };
    let report = Report {
        store: found.path.clone(),
        partition: found.partition,
        objects: ordered(&found.store).into_iter().map(|(id, object)| listed(id, object, words)).collect(),
    };
    if json {
        return output::json(env, &report);
    }
    print(&report, env)
}

fn open(command: &Bcd) -> Result<BootStore> {
    let args = &command.source;
    if let Some(hive) = args.hive(&[("--store", command.store.is_some())])? {
        let store = Store::read(&hive).context(|| args.name())?;
        return Ok(BootStore { store, path: args.name(), partition: None, table: None });
    }
    boot_store::find(&args.input()?, &args.name(), args.choice(), command.store.as_deref())
}

/// The objects in bcdedit's order; the loaders in that of the boot menu.
fn ordered(store: &Store) -> Vec<(&Uuid, &Object)> {
    let menu: HashMap<&Uuid, usize> = store.display_order().iter().rev().zip(0..).collect();
    let mut objects: Vec<_> = store.objects.iter().collect();
    objects.sort_by_key(|(id, object)| {
        let kind = ORDER.iter().position(|kind| *kind == object.kind).unwrap_or(usize::MAX);
        (kind, object.kind, std::cmp::Reverse(menu.get(id).copied()), **id)
    });
    objects
}

fn listed(id: &Uuid, object: &Object, words: Words<'_>) -> Listed {
    let elements = object.elements.iter().map(|(code, element)| Line {
        code: format!("{code:08x}"),
        name: element_label(object.kind, *code),
        values: words.element(object, *code, element),
    });
    Listed {
        id: words.id(id),
        title: object_title(id, object.kind),
        kind: format!("{:08x}", object.kind),
        elements: elements.collect(),
    }
}

fn print(report: &Report, env: &mut Env<'_>) -> Result<()> {
    let place = report.partition.map_or_else(String::new, |number| format!(" on partition {number}"));
    let out = &mut *env.stdout;
    output::line(out, format_args!("{}{place}", report.store))?;
    for object in &report.objects {
        output::line(out, format_args!("\n{}\n{}", object.title, "-".repeat(object.title.len())))?;
        output::line(out, format_args!("{:COLUMN$}{}", "identifier", object.id))?;
        for element in &object.elements {
            let mut name = element.name.as_str();
            // bcdedit leaves out an empty list's line; here it is shown, since it is there.
            let values = if element.values.is_empty() { &[String::new()][..] } else { &element.values };
            for value in values {
                let line = format!("{name:COLUMN$}{value}");
                output::line(out, format_args!("{}", line.trim_end()))?;
                name = "";
            }
        }
    }
    Ok(())
}

/// The number of the partition that a device means, if it is one of this disk.
pub(super) fn partition_of(table: &Table, device: &Device) -> Option<String> {
    let number = match (device, &table.scheme) {
        (Device::MbrPartition { signature, offset }, Scheme::Mbr { signature: of_disk }) if signature == of_disk => {
            let is_meant = |kind: Kind, start: u64| matches!(kind, Kind::Mbr(_)) && start == *offset;
            table.partitions.iter().find(|p| is_meant(p.kind, p.range.start))?.number
        }
        (Device::GptPartition { disk, partition }, Scheme::Gpt { disk: of_disk }) if disk == of_disk => {
            table.partitions.iter().find(|p| p.id == Some(*partition))?.number
        }
        _ => return None,
    };
    Some(number.to_string())
}

/// The entries of the boot menu in a line each, for `info`.
pub(super) fn menu(store: &Store) -> Vec<String> {
    let default = store.default_object();
    let entry = |id: &Uuid| {
        let object = store.objects.get(id)?;
        let path = object.text(code::PATH).unwrap_or("no program");
        let mark = if default == Some(*id) { ", default" } else { "" };
        Some(format!("{} ({path}{mark})", object.text(code::DESCRIPTION).unwrap_or("(no name)")))
    };
    store.display_order().iter().filter_map(entry).collect()
}
