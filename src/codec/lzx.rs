//! lzx
