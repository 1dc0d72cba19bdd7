//! directories
pub(super) fn check(_: &mut super::context::Context<'_>, _: &mut super::facts::Facts) {}
