//! Whom a call of the service side means: a device itself, or one module of it.

/// A device, or a module of a device. What names a device takes one of these: `"d"` is the device, `("d", "m")` its module `m`.
///
/// Each means exactly that identity: what a module does is not the device's, and the other way round.
///
/// ```
/// use iothub_emulator::Emulator;
/// let emulator = Emulator::start()?;
/// emulator.create_device("d")?;
/// emulator.create_module("d", "m")?;
/// assert!(!emulator.connected("d"));
/// assert!(emulator.telemetry(("d", "m")).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The device id.
    pub device: &'a str,
    /// The module id; `None`: the device itself.
    pub module: Option<&'a str>,
}

impl<'a> From<&'a str> for Who<'a> {
    fn from(device: &'a str) -> Self {
        Self { device, module: None }
    }
}

impl<'a> From<&'a String> for Who<'a> {
    fn from(device: &'a String) -> Self {
        Self { device, module: None }
    }
}

impl<'a> From<(&'a str, &'a str)> for Who<'a> {
    fn from((device, module): (&'a str, &'a str)) -> Self {
        Self { device, module: Some(module) }
    }
}
