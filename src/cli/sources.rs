//! What several commands look into.

use super::args::SourceArgs;
use super::{Env, output};
use crate::error::Result;
use crate::image::{Choice, Input, Source};

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

    /// The image or volume that is meant; what is odd about it is said.
    pub(super) fn open(&self, env: &mut Env<'_>) -> Result<Source> {
        let source = self.input()?.source(&self.name(), self.choice())?;
        output::warnings(env, &source.warnings)?;
        Ok(source)
    }
}
