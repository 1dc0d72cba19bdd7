//! Packed manifests, made: Windows' deltas are only read by the program.

#[path = "../../../src/codec/pa30/samples.rs"]
mod samples;

pub(crate) use samples::*;
