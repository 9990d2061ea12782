//! Who may connect: SAS tokens and client certificates, checked for real.

pub(crate) mod sas;
