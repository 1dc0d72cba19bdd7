//! INF files that other people wrote, wherever this machine has some.
