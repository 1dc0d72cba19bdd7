//! system
pub(super) fn check(_: &mut super::context::Context<'_>, _: &super::facts::Facts) {}
