//! lzms
