//! wim
