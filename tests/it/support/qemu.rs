//! Starts a disk image in QEMU's PC with a BIOS or with UEFI firmware, without a window, and reports what it said.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tools::text;

/// QEMU's program for the PC.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// UEFI firmware for it (OVMF), as Debian's package `ovmf` has it: the program, and what it keeps.
pub(crate) const OVMF: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];

/// Longer than any boot takes, also on a busy machine in software emulation; a few seconds are normal.
const PATIENCE: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(50);

/// The last words of the stand-in BOOTMGR, on the serial port: a line that begins so.
const VERDICT: &str = "nanovhd: boot chain ";

/// The last words of our MBR and our boot record, on the screen.
const GIVEN_UP: &str = "Press Ctrl+Alt+Del to restart";

/// What OVMF comes to when it finds nothing to start, on its console, which is on the serial port too.
const FOUND_NOTHING: [&str; 2] = ["UEFI Interactive Shell", "No bootable option or device was found"];

const TEXT_MEMORY: u64 = 0xB8000;
const COLUMNS: usize = 80;
const LINES: usize = 25;

/// What a machine said before it came to an end.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Everything that it sent to COM1.
    pub(crate) serial: String,
    /// The text on its screen at the end.
    pub(crate) screen: String,
}

impl Outcome {
    /// Whether the boot chain reached its end and found itself well.
    pub(crate) fn is_ok(&self) -> bool {
        self.serial.lines().last() == Some("nanovhd: boot chain ok")
    }
}

/// Boots a copy-on-write view of `image`, in QEMU's name for its `format` ("raw", "vpc", ...), until the stand-in BOOTMGR has
/// given its verdict or our boot code has given up. Panics, with what the machine has said so far, where neither happens.
pub(crate) fn boot(image: &Path, format: &str) -> Outcome {
    run(image, format, &["-machine", "pc", "-m", "64"], |disk| vec!["-drive".into(), format!("if=ide,{disk}")])
}

/// The same in a machine with UEFI firmware that has never seen a disk, and one with sectors of that size.
pub(crate) fn boot_uefi(image: &Path, format: &str, sector: u32) -> Outcome {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let [code, kept] = OVMF;
    let memory = scratch.path().join("vars");
    fs::copy(kept, &memory).expect("what the firmware keeps");
    let code = format!("if=pflash,format=raw,readonly=on,file={code}");
    let memory = format!("if=pflash,format=raw,file={}", text(&memory));
    let machine = ["-machine", "q35", "-m", "256", "-drive", &code, "-drive", &memory];
    let device = format!("virtio-blk-pci,drive=disk,logical_block_size={sector},physical_block_size={sector}");
    run(image, format, &machine, |disk| {
        vec!["-drive".into(), format!("if=none,id=disk,{disk}"), "-device".into(), device]
    })
}

/// `attach` makes the options for a drive.
fn run(image: &Path, format: &str, machine: &[&str], attach: impl FnOnce(&str) -> Vec<String>) -> Outcome {
    let mut machine = Machine::start(image, format, machine, attach);
    let deadline = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(POLL);
        let outcome = machine.look();
        // The last line: the stand-in for UEFI says everything twice.
        let last = outcome.serial.lines().last().unwrap_or_default();
        let verdict = last.starts_with(VERDICT) && outcome.serial.ends_with('\n');
        let nothing = FOUND_NOTHING.iter().any(|words| outcome.serial.contains(words));
        if verdict || nothing || outcome.screen.contains(GIVEN_UP) {
            return outcome;
        }
        assert!(Instant::now() < deadline, "no end of booting {} in {PATIENCE:?}: {outcome:#?}", image.display());
    }
}

struct Machine {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    scratch: TempDir,
}

impl Machine {
    fn start(image: &Path, format: &str, machine: &[&str], attach: impl FnOnce(&str) -> Vec<String>) -> Self {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let serial = scratch.path().join("serial");
        fs::write(&serial, "").expect("a file in a temporary folder");
        let option = |path: &Path| text(path).replace(',', ",,"); // QEMU's escape in lists of options
        let mut process = Command::new(QEMU)
            .args(machine)
            .args(["-accel", "tcg", "-cpu", "max", "-nodefaults", "-vga", "std"])
            .args(["-display", "none", "-no-reboot", "-qmp", "stdio"])
            .args(["-serial", &format!("file:{}", option(&serial))])
            .args(attach(&format!("snapshot=on,format={format},file={}", option(image))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU starts");
        let requests = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut machine = Self { process, requests, answers, scratch };
        machine.answer(); // its greeting
        machine.ask(&json!({ "execute": "qmp_capabilities" }));
        machine
    }

    /// What it has said so far.
    fn look(&mut self) -> Outcome {
        let memory = self.file("screen");
        let bytes = 2 * COLUMNS * LINES;
        let arguments = json!({ "val": TEXT_MEMORY, "size": bytes, "filename": text(&memory) });
        self.ask(&json!({ "execute": "pmemsave", "arguments": arguments }));
        let cells = fs::read(memory).expect("the screen's memory");
        let lines = cells.chunks(2 * COLUMNS).map(|line| {
            let line: String = line.iter().step_by(2).map(|byte| char::from((*byte).max(b' '))).collect();
            line.trim_end().to_owned()
        });
        let screen = lines.collect::<Vec<_>>().join("\n").trim_end().to_owned();
        let serial = fs::read(self.file("serial")).expect("the serial port's file");
        Outcome { serial: String::from_utf8_lossy(&serial).replace('\r', ""), screen }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn ask(&mut self, request: &Value) {
        writeln!(self.requests, "{request}").expect("QEMU listens");
        loop {
            let answer = self.answer();
            if answer.get("return").is_some() {
                return;
            }
            assert!(answer.get("event").is_some(), "QEMU refuses {request}: {answer}");
        }
    }

    fn answer(&mut self) -> Value {
        let line = self.answers.next().expect("QEMU runs").expect("QEMU answers");
        serde_json::from_str(&line).expect("QEMU answers in JSON")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
