//! Whether the links of a feature are served, and if not, why.

use tokio::sync::mpsc;

/// The links of a feature.
pub(crate) enum Place<T> {
    /// A task serves them, and is spoken to here.
    Served(mpsc::UnboundedSender<T>),
    Unserved(Unserved),
}

/// Why nobody serves the links of a feature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unserved {
    Absent,
    /// They are let go, and the hub has not said that they are gone. What it still sends on them is its own again.
    Ending,
    /// The hub refused them.
    Refused,
}

impl<T> Place<T> {
    pub(crate) fn unserved(&self) -> Option<Unserved> {
        match self {
            Self::Served(_) => None,
            Self::Unserved(why) => Some(*why),
        }
    }

    /// Hands this to the task that serves the links; gives it back if there is none.
    pub(crate) fn hand(&self, what: T) -> Result<(), T> {
        match self {
            Self::Served(task) => task.send(what).map_err(|unsent| unsent.0),
            Self::Unserved(_) => Err(what),
        }
    }
}
