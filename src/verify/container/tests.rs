//! Sound files, and files in which one rule is broken.
