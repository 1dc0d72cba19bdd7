//! Which part of which WIM a file is.

use std::sync::Arc;

use uuid::Uuid;

use super::table::Part;
use crate::base::ReadAt;
use crate::error::Result;

/// What a file's header says about its place among the parts of a WIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartId {
    /// The same in all parts.
    pub guid: Uuid,
    /// From 1.
    pub part: u16,
    /// How many parts there are; 1 for a WIM that is not split.
    pub parts: u16,
}

impl PartId {
    /// Reads and checks the header of one file.
    pub fn read(reader: &Arc<dyn ReadAt>) -> Result<Self> {
        let header = Part::open(Arc::clone(reader))?.header;
        Ok(Self { guid: Uuid::from_bytes_le(header.guid), part: header.part.get(), parts: header.parts.get() })
    }
}
