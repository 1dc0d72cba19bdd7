//! xpress
