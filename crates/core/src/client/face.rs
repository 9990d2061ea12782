//! The two faces of a client: a device's and a module's.

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Device {}
    impl Sealed for super::Module {}
}

/// What a client is for: [`Device`] or [`Module`].
pub trait Face: sealed::Sealed + 'static {
    /// Whether it is for a module of a device.
    #[doc(hidden)]
    const IS_MODULE: bool;
}

/// The face of a device: marks clients and outboxes of devices.
#[derive(Debug)]
pub enum Device {}

/// The face of a module: marks clients and outboxes of modules.
#[derive(Debug)]
pub enum Module {}

impl Face for Device {
    const IS_MODULE: bool = false;
}

impl Face for Module {
    const IS_MODULE: bool = true;
}
