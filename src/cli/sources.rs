//! What several commands look into.

use super::args::SourceArgs;
use super::{Env, output};
use crate::error::{Error, Result};
use crate::format::hive::Hive;
use crate::image::{Choice, Input, Source, source};

impl SourceArgs {
    /// The source as the user knows it.
    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    pub(super) fn choice(&self) -> Choice<'_> {
        Choice { image: self.image.as_deref(), partition: self.partition }
    }

    /// The file, of whatever kind it is.
    pub(super) fn input(&self) -> Result<Input> {
        Input::open(&self.file, self.parts.as_deref())
    }

    /// The hive that the file itself is, if it is one. `options` are those that are for images only, where they were given.
    pub(super) fn hive(&self, options: &[(&str, bool)]) -> Result<Option<Hive>> {
        if !source::is_hive(&self.file)? {
            return Ok(None);
        }
        let own = [("--parts", self.parts.is_some()), ("--image", self.image.is_some())];
        let own = own.into_iter().chain([("--partition", self.partition.is_some())]);
        if let Some((option, _)) = own.chain(options.iter().copied()).find(|(_, given)| *given) {
            let what = format!("{option} is for images, and this file is a hive itself");
            return Err(Error::invalid(what).context(self.name()));
        }
        source::host_hive(&self.file).map(Some)
    }

    /// The image or volume that is meant; what is odd about it is said.
    pub(super) fn open(&self, env: &mut Env<'_>) -> Result<Source> {
        let source = self.input()?.source(&self.name(), self.choice())?;
        output::warnings(env, &source.warnings)?;
        Ok(source)
    }
}
