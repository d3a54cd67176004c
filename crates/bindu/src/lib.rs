//! bindu
