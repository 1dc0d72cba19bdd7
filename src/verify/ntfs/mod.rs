//! A volume of NTFS 3.1, rule by rule.

use super::Findings;
use crate::base::ReadAt;

/// Checks the volume that fills `volume` (a partition, its last sector included).
pub fn check(_volume: &dyn ReadAt, _findings: &mut Findings) {}
