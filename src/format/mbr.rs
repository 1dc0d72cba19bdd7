//! MBR
