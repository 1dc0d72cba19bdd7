//! Packages of small disks that are none: what is around them.
