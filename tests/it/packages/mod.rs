//! Packages.
mod makers;

/// A real package, signed by Microsoft.
const REAL: &str = "OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab";
