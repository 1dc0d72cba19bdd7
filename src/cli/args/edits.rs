//! What `build`, `edit` and `fork` change.

use std::path::{Path, PathBuf};

use crate::cli::values::{RouteArg, computer_name, copy, first_start};
use crate::error::Result;
use crate::image::edits::{CopyIn, replaced_in_path};
use crate::windows::setup::complete::Step;

/// What `build`, `edit` and `fork` share. Deletions come first, then copies, then packages, then the registry, then drivers, each kind in the
/// order of the arguments.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("signed").multiple(true).args(["driver", "package"]))]
pub(in crate::cli) struct EditArgs {
    /// Delete a file or a directory with all that is in it.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) delete: Vec<String>,
    /// Copy a file or folder into the image. Without a target, or with one that ends in '\\', it goes into that directory (the root)
    /// under its own name; else the target is what it becomes. 'FOLDER/=\\X' copies what is in the folder into \\X.
    #[arg(long, value_name = "SOURCE[=TARGET]", value_parser = copy)]
    pub(in crate::cli) copy: Vec<CopyIn>,
    /// Apply a .reg file to the image's registry.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) reg: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) packages: PackageArgs,
    #[command(flatten)]
    pub(in crate::cli) drivers: DriverArgs,
    #[command(flatten)]
    pub(in crate::cli) setup: SetupArgs,
}

/// Which packages come and go.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Packages")]
pub(in crate::cli) struct PackageArgs {
    /// Put a package in, as DISM does: a .cab, an .msu, an unpacked package's folder, a folder of cabinets; or one of the medium by its short
    /// name, with its part for the image's language: 'Containers', 'Compute', 'OEM-Drivers'. May be given several times. (`nanovhd packages` lists
    /// what a medium has.)
    #[arg(long, value_name = "NAME|PATH")]
    pub(in crate::cli) package: Vec<String>,
    /// Which way packages go in: 'auto' puts them in here, but leaves to the first start of Windows what cannot be done in full without it;
    /// 'strict' refuses such packages; 'first-boot' leaves all of them to the first start.
    #[arg(long, value_name = "WAY", default_value = "auto", requires = "package")]
    pub(in crate::cli) packages: RouteArg,
    /// Put packages in although those are missing that they belong to, or the image is of another edition or version.
    #[arg(long, requires = "package")]
    pub(in crate::cli) ignore_check: bool,
    /// Unpack manifests with this wcp.dll, or the base manifest in it, where the image has no servicing stack of its own.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) servicing_stack: Option<PathBuf>,
    /// Take a package out that --package put in, with its components: its id, or its name if only one has it. This comes before --package.
    #[arg(long, value_name = "ID|NAME")]
    pub(in crate::cli) remove_package: Vec<String>,
}

/// Which drivers come and go.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Drivers")]
pub(in crate::cli) struct DriverArgs {
    /// Put drivers in, so that Windows has them when it starts: an .inf file; or all that are for the image's Windows and processor
    /// in a folder (with those below it), a .zip, a .cab or an ISO, such as that of virtio-win. May be given several times.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) driver: Vec<PathBuf>,
    /// Take drivers that nobody has signed whom Windows trusts, or that are not what was signed: 64-bit Windows loads them only if it
    /// is set to test signing, with Secure Boot off. Take packages, too, that Microsoft has not signed.
    #[arg(long, requires = "signed")]
    pub(in crate::cli) allow_unsigned: bool,
    /// Take a driver package out, with its services and files: 'oem3.inf'. (`nanovhd drivers` lists them.) This comes before --driver.
    #[arg(long, value_name = "OEMn.INF")]
    pub(in crate::cli) remove_driver: Vec<String>,
}

/// What makes an image a machine of its own that can be reached. It comes last, after deletions, copies and the registry.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Machine")]
pub(in crate::cli) struct SetupArgs {
    /// The machine's name: 1 to 15 letters, digits and hyphens; '*' lets Windows make one up.
    #[arg(long, value_name = "NAME", value_parser = computer_name)]
    pub(in crate::cli) computer_name: Option<String>,
    /// Take the administrator's password from the first line of a file; '-' is standard input.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) admin_password_file: Option<PathBuf>,
    /// Ask for the administrator's password.
    #[arg(long, conflicts_with = "admin_password_file")]
    pub(in crate::cli) admin_password_prompt: bool,
    /// An answer file for the first start. It is checked, joined with what the other options say (they win, and say so), and put at
    /// \Windows\Panther\unattend.xml.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) unattend: Option<PathBuf>,
    /// The machine's time zone, by Windows' name for it: 'UTC', 'W. Europe Standard Time'.
    #[arg(long, value_name = "ZONE")]
    pub(in crate::cli) time_zone: Option<String>,
    /// Let Windows Remote Management answer from the first start on: HTTP on port 5985, and the firewall opened for it.
    #[arg(long)]
    pub(in crate::cli) winrm: bool,
    /// The same by HTTPS on port 5986 too, with a certificate made now. Its key comes by chance, or from --seed.
    #[arg(long)]
    pub(in crate::cli) winrm_https: bool,
    /// The same with Basic authentication and without encryption, as Vagrant needs it.
    #[arg(long)]
    pub(in crate::cli) winrm_basic: bool,
    /// Run a command when Windows has set itself up, as SYSTEM, in a shell of its own. It is written as in a batch file (%% is a
    /// percent sign); what it says goes into \Windows\Setup\Scripts\setupcomplete.log. May be given several times.
    #[arg(long, value_name = "COMMAND", value_parser = first_start)]
    pub(in crate::cli) setup_complete: Vec<Step>,
}

/// What stands for a child's name in the arguments of `fork`.
pub(in crate::cli) const CHILD_NAME: &str = "{name}";

impl EditArgs {
    /// The same for a child of that name.
    pub(in crate::cli) fn for_child(&self, name: &str) -> Result<Self> {
        let named = |text: &str| text.replace(CHILD_NAME, name);
        Ok(Self {
            delete: self.delete.iter().map(|path| named(path)).collect(),
            copy: self.copy.iter().map(|copy| copy.replaced(CHILD_NAME, name)).collect::<Result<_>>()?,
            reg: self.reg.iter().map(|path| replaced_in_path(path, CHILD_NAME, name)).collect(),
            packages: PackageArgs {
                package: self.packages.package.iter().map(|name| named(name)).collect(),
                servicing_stack: self
                    .packages
                    .servicing_stack
                    .as_ref()
                    .map(|path| replaced_in_path(path, CHILD_NAME, name)),
                remove_package: self.packages.remove_package.iter().map(|name| named(name)).collect(),
                ..self.packages.clone()
            },
            drivers: DriverArgs {
                driver: self.drivers.driver.iter().map(|path| replaced_in_path(path, CHILD_NAME, name)).collect(),
                ..self.drivers.clone()
            },
            setup: self.setup.for_child(name)?,
        })
    }
}

impl SetupArgs {
    /// See [`EditArgs::for_child`].
    fn for_child(&self, name: &str) -> Result<Self> {
        let named = |text: &str| text.replace(CHILD_NAME, name);
        let path = |path: &PathBuf| replaced_in_path(path, CHILD_NAME, name);
        let step = |step: &Step| Step::command(&named(&step.commands.join("\n")));
        Ok(Self {
            computer_name: self.computer_name.as_deref().map(named),
            admin_password_file: self.admin_password_file.as_ref().map(path),
            unattend: self.unattend.as_ref().map(path),
            setup_complete: self.setup_complete.iter().map(step).collect::<Result<_>>()?,
            time_zone: self.time_zone.clone(),
            ..*self
        })
    }

    /// Whether each child has a password of its own.
    pub(in crate::cli) fn has_password_of_each(&self) -> bool {
        let path = self.admin_password_file.as_deref().and_then(Path::to_str);
        path.is_some_and(|path| path.contains(CHILD_NAME))
    }
}
