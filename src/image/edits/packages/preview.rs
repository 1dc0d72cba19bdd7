//! What packages would come to in an image.

use std::sync::Arc;

use serde::Serialize;

use super::{ServicingStack, is_there, options, reasons};
use crate::error::{Context, Error, Kind, Result};
use crate::image::package_source::{Inspection, Part};
use crate::tree::Tree;
use crate::windows::packages::{self, Installed, Plan, base};

/// What packages would come to.
pub struct Preview {
    /// What the image is.
    pub image: String,
    /// What would be done for those that fit.
    pub plan: Plan,
    /// What is to be said of each part, in their order.
    pub parts: Vec<Judged>,
    /// What is worth knowing.
    pub warnings: Vec<String>,
}

/// A part, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// What reading all of it told; nothing if it cannot be read in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Inspection>,
    /// Whether it fits.
    pub fit: Fit,
    /// Why it does not, or has to wait for the first start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Whether a package fits an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// It is there already.
    Already,
    /// It can be put in.
    Fits,
    /// It fits, as far as that can be told, but takes its Windows to be installed.
    FirstBoot,
    /// It fits, but is not signed as it should be.
    Refused,
    /// It does not fit.
    No,
    /// It is damaged, or no package at all.
    Unreadable,
}

/// How to judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'s> {
    /// What manifests are packed against, where the image has no servicing stack of its own.
    pub servicing_stack: Option<&'s ServicingStack>,
    /// Without regard to what packages say of those that they belong to.
    pub ignore_check: bool,
    /// Packages that Microsoft has not signed are fine.
    pub allow_unsigned: bool,
    /// A damaged part is judged as [`Unreadable`](Fit::Unreadable); else it is an error.
    pub take_damaged: bool,
}

impl Fit {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Already => "is there already",
            Self::FirstBoot => "fits, at the first start",
            Self::Refused => "refused",
            Self::No => "does not fit",
            Self::Unreadable => "cannot be read",
        }
    }
}

/// Judges parts for the installation in a tree, all together: one may need another. What would be refused is planned nevertheless. Nothing is
/// changed.
///
/// # Errors
/// Those of the image's hives, with its `name`, and of parts that are damaged, with theirs. What does not fit is no error.
pub fn preview(parts: &[Part], tree: &Tree, name: &str, terms: Terms<'_>) -> Result<Preview> {
    let base = match terms.servicing_stack {
        Some(stack) => Some(Arc::clone(&stack.0)),
        None => base::find(tree).context(|| name)?,
    };
    let image = Installed::read(tree).context(|| name)?;
    let mut judged = Vec::new();
    let (mut verified, mut places) = (Vec::new(), Vec::new());
    for (place, part) in parts.iter().enumerate() {
        let fit = Judged { inspection: None, fit: Fit::Fits, reasons: Vec::new() };
        judged.push(match part.verified(base.as_deref()) {
            Ok((one, remarks)) => {
                let inspection = Some(Inspection::of(&one, remarks, terms.allow_unsigned));
                verified.push(one);
                places.push(place);
                Judged { inspection, ..fit }
            }
            Err(error) if terms.take_damaged && is_damage(&error) => {
                Judged { fit: Fit::Unreadable, reasons: vec![error.to_string()], ..fit }
            }
            Err(error) => return Err(error),
        });
    }
    let planned = packages::resolve::plan(&verified, &image, &options(terms.ignore_check))?;
    for (bundle, place) in places.into_iter().enumerate() {
        let problems = planned.problems.iter().filter(|problem| problem.bundle == bundle);
        let problems: Vec<String> = problems.map(|problem| problem.text.clone()).collect();
        let refusal = judged[place].inspection.as_ref().and_then(|inspection| inspection.refusal.clone());
        let left_out = planned.plan.bundles_with_left_out().contains(&bundle);
        (judged[place].fit, judged[place].reasons) = match (problems.is_empty(), left_out) {
            (false, _) => (Fit::No, problems),
            (true, _) if is_there(&planned.plan, bundle) => (Fit::Already, Vec::new()),
            (true, _) if refusal.is_some() => (Fit::Refused, refusal.into_iter().collect()),
            (true, true) => (Fit::FirstBoot, reasons(&planned.plan, bundle)),
            (true, false) => (Fit::Fits, Vec::new()),
        };
    }
    let warnings = image.notes().iter().cloned().chain(planned.warnings).collect();
    Ok(Preview { image: image.description(), plan: planned.plan, parts: judged, warnings })
}

/// Whether it is the part that is at fault, and not the host.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Corrupt | Kind::Truncated | Kind::Unsupported | Kind::Invalid)
}
