//! What the names of folders say of the Windows that is meant.

use std::cmp::Reverse;

use crate::base::Machine;
use crate::format::inf::{ProductType, TargetOs};

/// A Windows as folders name it: the build that it came out with, and whether it is a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Os {
    pub(super) build: u32,
    pub(super) server: bool,
}

/// What the names of the folders on the way to an INF file say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) machine: Option<Machine>,
    /// The innermost folder's; one may name several.
    pub(super) systems: Vec<Os>,
}

/// The numbers that clients are called by, behind a `w`, `win` or `windows`.
const CLIENTS: [(&str, u32); 8] = [
    ("xp", 2600),
    ("vista", 6002),
    ("7", 7601),
    ("8", 9200),
    ("81", 9600),
    ("8.1", 9600),
    ("10", 10240),
    ("11", 22000),
];
/// The years of servers, as in `2k16` or `server2016`.
const SERVERS: [(&str, u32); 10] = [
    ("03", 3790),
    ("08", 6002),
    ("08r2", 7601),
    ("12", 9200),
    ("12r2", 9600),
    ("16", 14393),
    ("19", 17763),
    ("22", 20348),
    ("23", 25398),
    ("25", 26100),
];
/// What processors are called, alone or at the end of a name. The longer ones first: `arm64` ends in `64`.
const MACHINES: [(&str, Machine); 11] = [
    ("aarch64", Machine::Arm64),
    ("arm64", Machine::Arm64),
    ("x8664", Machine::Amd64),
    ("amd64", Machine::Amd64),
    ("64bit", Machine::Amd64),
    ("32bit", Machine::X86),
    ("x64", Machine::Amd64),
    ("x86", Machine::X86),
    ("i386", Machine::X86),
    ("arm", Machine::Arm),
    ("64", Machine::Amd64),
];

impl Place {
    /// What a path within a source says; its folders alone, without the name of the INF file.
    pub(super) fn of(folders: &str) -> Self {
        let mut place = Self::default();
        for folder in folders.split('\\').filter(|folder| !folder.is_empty()) {
            let folder = folder.to_lowercase();
            let whole: String = folder.chars().filter(|c| !is_separator(*c)).collect();
            let parts = folder.split(is_separator).map(str::to_owned);
            let words: Vec<String> = std::iter::once(whole).chain(parts).collect();
            // The whole name counts before its parts: x86_64 is no x86.
            place.machine = words.iter().find_map(|word| split_machine(word).1).or(place.machine);
            let mut systems: Vec<Os> = words.iter().filter_map(|word| os(split_machine(word).0)).collect();
            systems.dedup();
            if !systems.is_empty() {
                place.systems = systems;
            }
        }
        place
    }

    /// The less, the better it suits: see the [module above](super).
    pub(super) fn rank(&self, target: &TargetOs) -> impl Ord + use<> {
        let machine = match self.machine {
            Some(machine) if machine == target.machine => 0,
            None => 1,
            Some(_) => 2,
        };
        let server = target.product != ProductType::Workstation;
        let of = |os: &Os| {
            let later = os.build > target.build;
            let other_generation = generation(os.build) != generation(target.build);
            (later, 2 * u8::from(other_generation), os.server != server, Reverse(os.build.min(target.build)))
        };
        let unnamed = (false, 1, false, Reverse(0));
        (machine, self.systems.iter().map(of).min().unwrap_or(unnamed))
    }

    /// Whether all that it names is of later than the target.
    pub(super) fn is_later(&self, target: &TargetOs) -> bool {
        !self.systems.is_empty() && self.systems.iter().all(|os| os.build > target.build)
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '-' | '_' | '(' | ')' | ',')
}

/// Builds that have drivers in common: those of one major and minor version.
fn generation(build: u32) -> u32 {
    const FIRSTS: [u32; 6] = [10240, 9600, 9200, 7600, 6000, 0];
    FIRSTS.into_iter().find(|first| build >= *first).unwrap_or(0)
}

/// Takes a processor from the end of a word.
fn split_machine(word: &str) -> (&str, Option<Machine>) {
    for (name, machine) in MACHINES {
        let Some(rest) = word.strip_suffix(name) else { continue };
        if rest.is_empty() || os(rest).is_some() || matches!(rest, "nt" | "win" | "windows") {
            return (rest, Some(machine));
        }
    }
    if matches!(word, "win32" | "32") { ("", Some(Machine::X86)) } else { (word, None) }
}

/// The Windows that a word names.
fn os(word: &str) -> Option<Os> {
    const CLIENT_PREFIXES: [&str; 3] = ["windows", "win", "w"];
    const SERVER_PREFIXES: [&str; 7] = ["windowsserver", "winserver", "server", "windows", "win", "ws", "w"];
    let server = |year: &str| {
        // 2k3 and 2k8 are written with one digit.
        let found = SERVERS.iter().find(|(own, _)| *own == year || own.strip_prefix('0') == Some(year));
        found.map(|(_, build)| Os { build: *build, server: true })
    };
    // `2k16` tells enough by itself; a mere year does not.
    let bare = word.strip_prefix("2k");
    let behind = SERVER_PREFIXES.iter().filter_map(|prefix| word.strip_prefix(prefix));
    let years = bare.into_iter().chain(behind.filter_map(|rest| rest.strip_prefix("20").or(rest.strip_prefix("2k"))));
    if let Some(found) = years.into_iter().find_map(server) {
        return Some(found);
    }
    if matches!(word, "xp" | "vista") {
        let build = CLIENTS.iter().find(|(own, _)| *own == word).map(|(_, build)| *build)?;
        return Some(Os { build, server: false });
    }
    let number = CLIENT_PREFIXES.iter().find_map(|prefix| word.strip_prefix(prefix))?;
    let build = CLIENTS.iter().find(|(own, _)| *own == number).map(|(_, build)| *build)?;
    Some(Os { build, server: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(build: u32) -> Vec<Os> {
        vec![Os { build, server: false }]
    }

    fn server(build: u32) -> Vec<Os> {
        vec![Os { build, server: true }]
    }

    #[test]
    fn names_that_vendors_use() {
        let amd64 = Some(Machine::Amd64);
        for (folders, machine, systems) in [
            (r"\NetKVM\2k16\amd64", amd64, server(14393)),
            (r"\amd64\2k12R2", amd64, server(9600)),
            (r"\viostor\w10\x86", Some(Machine::X86), client(10240)),
            (r"\viostor\w8.1\ARM64", Some(Machine::Arm64), client(9600)),
            (r"\vioscsi\2k3\x86", Some(Machine::X86), server(3790)),
            (r"\vioscsi\2k25\amd64", amd64, server(26100)),
            (r"\Drivers\Win10x64", amd64, client(10240)),
            (r"\Windows 11\x86_64", amd64, client(22000)),
            (r"\Windows Server 2019", None, server(17763)),
            (r"\PRO1000\Winx64\NDIS65", amd64, vec![]),
            (r"\PRO1000\Win32\W2K12R2", Some(Machine::X86), server(9600)),
            (r"\WS2022-x64", amd64, server(20348)),
            (r"\Win7\release\W10", None, client(10240)),
            (r"\2019\06", None, vec![]),
            (r"\network\arm", Some(Machine::Arm), vec![]),
            (r"\charm\alarm", None, vec![]),
            ("", None, vec![]),
        ] {
            let found = Place::of(folders);
            assert_eq!((found.machine, found.systems), (machine, systems), "{folders}");
        }
        assert_eq!(Place::of(r"\Win7_Win10").systems, [client(7601), client(10240)].concat());
    }

    #[test]
    fn the_nearest_is_best() {
        let target =
            |build, product| TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build, product, suites: 0 };
        let order = |target: &TargetOs, expected: &[&str]| {
            let mut folders = expected.to_vec();
            folders.sort();
            folders.sort_by_key(|folder| Place::of(folder).rank(target));
            assert_eq!(folders, expected, "{target:?}");
        };
        let server = target(17763, ProductType::Server);
        order(
            &server,
            &[
                r"2k19\amd64",
                r"2k16\amd64",
                r"w10\amd64",
                "amd64",
                r"2k12R2\amd64",
                r"w8.1\amd64",
                r"2k22\amd64",
                r"w11\amd64",
                "2k19",
                "",
                r"2k19\x86",
            ],
        );
        order(&target(14393, ProductType::DomainController), &["2k16", "w10", "", "2k12R2", "2k12", "2k19"]);
        order(&target(26100, ProductType::Workstation), &["w11", "w10", "2k25", "2k22", "2k16", "", "w7"]);
        assert!(Place::of("2k22").is_later(&server) && !Place::of("2k22_w10").is_later(&server));
        assert!(!Place::of("").is_later(&server));
    }
}
