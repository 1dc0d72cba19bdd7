//! `\Windows\Setup\Scripts\SetupComplete.cmd`: what Windows runs once, as SYSTEM, when its setup is complete.
//!
//! The text is `templates/SetupComplete.cmd`, ASCII with CRLF. Each step is a subroutine that runs in a `cmd.exe` of its own, with
//! its output and exit code in `setupcomplete.log` beside the script; an `exit` in a step ends that step only. Secrets are removed
//! last, whatever happened before. (Windows runs no `SetupComplete.cmd` on client editions with an OEM product key.)
//!
//! A script of the image's own is kept as `SetupComplete.image.cmd` and becomes the first step. One that this program made is read
//! back, and the new steps join it; a step replaces one of the same title.

use crate::base::FileTime;
use crate::error::{Error, Result};
use crate::tree::Tree;
use crate::windows::place::{self, Access};

/// Its path.
pub const PATH: &str = r"\Windows\Setup\Scripts\SetupComplete.cmd";
/// What becomes of the image's own.
pub(super) const KEPT: &str = r"\Windows\Setup\Scripts\SetupComplete.image.cmd";

const TEMPLATE: &str = include_str!("../../../templates/SetupComplete.cmd");
const MARK: &str = "rem Made by nanovhd.";
const LABEL: &str = ":step";
const END_OF_STEP: &str = "exit %ERRORLEVEL%";
/// Not `rem`, which leaves a caret at the end of the line its meaning.
const COMMENT: &str = ":: ";
const REMOVE: &str = "del /f /q /a ";

/// The longest line that `cmd.exe` takes is 8191 characters; what is written around a command has to fit too.
const MAX_COMMAND: usize = 7000;

/// Something to do on the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is, for the log; unique among the steps.
    pub title: String,
    /// Lines of a batch file.
    pub commands: Vec<String>,
}

impl Step {
    /// A step of some lines.
    pub fn new(title: impl Into<String>, commands: Vec<String>) -> Self {
        Self { title: title.into(), commands }
    }

    /// A command of the user's, as it would stand in a batch file: `%NAME%` is a variable, `%%` a percent sign.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) for what cannot stand in a batch file as one line of ASCII.
    pub fn command(command: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::invalid("a command for SetupComplete.cmd").found(format_args!("{command:?}")).allowed(why)
        };
        if !command.chars().all(|c| (' '..='~').contains(&c) || c == '\t') {
            return Err(invalid("one line of ASCII").hint("put more into a script of its own: --copy it and call it"));
        }
        let first = command.trim_start().trim_start_matches('@');
        let continues = command.trim_end().ends_with('^');
        if first.is_empty() || first.starts_with(':') || continues || command.len() > MAX_COMMAND {
            return Err(invalid("1 to 7000 characters, no label, and no caret at the end"));
        }
        Ok(Self::new(command, vec![command.to_owned()]))
    }
}

/// The whole script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetupComplete {
    /// What is done, in its order.
    pub steps: Vec<Step>,
    /// Files of the image that are removed at the end.
    pub secrets: Vec<String>,
}

impl SetupComplete {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.secrets.is_empty()
    }

    /// Reads a script that this program made; `None` for any other.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        lines.get(1)?.strip_prefix(MARK)?;
        let secrets = lines.iter().filter_map(|line| fixed_path(line.strip_prefix(REMOVE)?.split('"').nth(1)?));
        let mut script = Self { steps: Vec::new(), secrets: secrets.collect() };
        let mut lines = lines.iter();
        while lines.any(|line| line.starts_with(LABEL)) {
            let title = lines.next()?.strip_prefix(COMMENT)?;
            let commands = lines.by_ref().take_while(|line| **line != END_OF_STEP).map(ToString::to_string);
            script.steps.push(Step::new(title, commands.collect()));
        }
        Some(script)
    }

    /// Adds what another has, in the place of what has the same titles.
    pub fn join(&mut self, other: Self) {
        self.steps.retain(|step| other.steps.iter().all(|new| new.title != step.title));
        self.steps.extend(other.steps);
        self.secrets.retain(|path| !other.secrets.contains(path));
        self.secrets.extend(other.secrets);
    }

    /// The script's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let run: Vec<String> = (1..).zip(&self.steps).map(|(number, step)| run(number, step)).collect();
        let secrets: Vec<String> = self.secrets.iter().map(|path| remove(path)).collect();
        let steps: Vec<String> = (1..).zip(&self.steps).map(|(number, step)| routine(number, step)).collect();
        let mut lines = Vec::new();
        for line in TEMPLATE.lines() {
            match line {
                "{run}" => lines.extend(run.iter().map(String::as_str)),
                "{secrets}" => lines.extend(secrets.iter().map(String::as_str)),
                "{steps}" => lines.extend(steps.iter().map(String::as_str)),
                _ => lines.push(line),
            }
        }
        lines.iter().flat_map(|text| text.lines()).flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes()
    }
}

fn run(number: usize, step: &Step) -> String {
    format!(
        "{}\ncmd.exe /d /c \"\"%~f0\" {}{number}\" >> \"%SCLOG%\" 2>&1\n{}",
        log(&format!("Executing '{}'", step.title.replace('%', "%%"))),
        &LABEL[1..],
        log("Exit code %ERRORLEVEL%"),
    )
}

fn routine(number: usize, step: &Step) -> String {
    format!("{LABEL}{number}\n{COMMENT}{}\n{}\n{END_OF_STEP}", step.title, step.commands.join("\n"))
}

/// Removes a file and says whether that worked.
fn remove(path: &str) -> String {
    let path = variable_path(path);
    let (there, gone) = (log(&format!("Could not remove {path}")), log(&format!("Removed {path}")));
    format!("{REMOVE}\"{path}\" >> \"%SCLOG%\" 2>&1\nif exist \"{path}\" ({there}) else ({gone})")
}

/// A line of the log. In quotes nothing but `%` has a meaning, and quotes themselves.
fn log(text: &str) -> String {
    format!("echo \"{}\" >> \"%SCLOG%\"", text.replace('"', "'"))
}

/// A path of the image as the running system knows it.
pub(super) fn variable_path(path: &str) -> String {
    match path.strip_prefix(r"\Windows\") {
        Some(below) => format!(r"%SystemRoot%\{below}"),
        None => format!("%SystemDrive%{path}"),
    }
}

/// Takes the step of a title out of an image's script. Where nothing else is left to do, the script goes, and the image's own has its name again.
pub(in crate::windows) fn drop_step(tree: &mut Tree, title: &str, now: FileTime) -> Result<()> {
    let Some(mut script) = tree.read_file(PATH)?.and_then(|bytes| SetupComplete::read(&bytes)) else { return Ok(()) };
    let before = script.steps.len();
    script.steps.retain(|step| step.title != title);
    let is_the_images = |step: &Step| step.commands == [kept_call()] && tree.find(KEPT).is_some();
    let has_kept = script.steps.iter().any(is_the_images);
    let is_idle = script.secrets.is_empty() && script.steps.iter().all(is_the_images);
    if script.steps.len() == before {
        return Ok(());
    }
    if !is_idle {
        return place::put(tree, PATH, script.to_bytes(), Access::Inherited, now);
    }
    place::remove(tree, PATH)?;
    if has_kept { place::rename(tree, KEPT, PATH) } else { Ok(()) }
}

/// The line that runs the image's own script.
pub(super) fn kept_call() -> String {
    format!("call \"{}\"", variable_path(KEPT))
}

fn fixed_path(path: &str) -> Option<String> {
    let windows = path.strip_prefix(r"%SystemRoot%\").map(|below| format!(r"\Windows\{below}"));
    windows.or_else(|| path.strip_prefix("%SystemDrive%").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> SetupComplete {
        let steps = [r#"echo "100%" > C:\a.txt"#, "exit 3"].map(|command| Step::command(command).unwrap());
        SetupComplete { steps: steps.into(), secrets: vec![r"\Windows\Panther\unattend.xml".into(), r"\a.pfx".into()] }
    }

    #[test]
    fn is_ascii_with_crlf_and_removes_secrets_last() {
        let bytes = script().to_bytes();
        assert!(bytes.is_ascii());
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(!text.contains('{'), "{text}");
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        let order = [
            at(r#"echo "Executing 'echo '100%%' > C:\a.txt'" >> "%SCLOG%""#),
            at(r#"cmd.exe /d /c ""%~f0" step2" >> "%SCLOG%" 2>&1"#),
            at(r#"del /f /q /a "%SystemRoot%\Panther\unattend.xml""#),
            at(r#"del /f /q /a "%SystemDrive%\a.pfx""#),
            at("exit /b 0"),
            at(":step1\r\n:: echo \"100%\" > C:\\a.txt\r\necho \"100%\" > C:\\a.txt\r\nexit %ERRORLEVEL%\r\n:step2"),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        assert_eq!(SetupComplete::read(&script().to_bytes()), Some(script()));
        assert_eq!(SetupComplete::read(&SetupComplete::default().to_bytes()), Some(SetupComplete::default()));
        for foreign in [&b""[..], b"@echo off", b"@echo off\r\nrem Mine\r\n:step1\r\n", b"\xFF"] {
            assert_eq!(SetupComplete::read(foreign), None);
        }
        let bytes = script().to_bytes();
        for end in 0..bytes.len() {
            SetupComplete::read(&bytes[..end]);
        }
    }

    #[test]
    fn a_step_takes_the_place_of_its_namesake() {
        let mut all = script();
        let again = Step::new("exit 3", vec!["exit 4".into()]);
        all.join(SetupComplete { steps: vec![again.clone()], secrets: vec![r"\a.pfx".into()] });
        assert_eq!((all.steps.len(), all.secrets.len()), (2, 2));
        assert_eq!(all.steps[1], again);
    }

    #[test]
    fn refuses_what_is_no_line_of_a_batch_file() {
        for bad in ["", "  ", "@", "a\nb", "a\rb", "gr\u{fc}n", ":label", " @:x", "a ^", &"x".repeat(7001)] {
            assert!(Step::command(bad).is_err(), "{bad:?}");
        }
    }
}
