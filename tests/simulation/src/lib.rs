//! The client and the local hub together, on one thread and in virtual time.
//!
//! [`Sim`] holds a hub without a server ([`OfflineHub`](iothub_emulator::OfflineHub)) and a network in memory. A client
//! that is made with [`Sim::provider`] parks in it: bytes move between the two until nothing moves any more, and only
//! then the clocks of both jump to the next deadline of either. Everything comes from one seed; there is no real time,
//! no thread, and no randomness from anywhere else, so a run happens again exactly as it was.
//!
//! [`chaos`] is built on it: an application on one client, two hundred operations, twenty faults, and a checker that
//! compares what the client said with what the hub recorded.
//!
//! ```
//! use iothub_core::DeviceClient;
//! use iothub_simulation::Sim;
//! use std::time::Duration;
//!
//! let sim = Sim::new(7);
//! let mut client = DeviceClient::builder(&sim.create_device("d")?).build(&sim.provider())?;
//! client.send_event("21.5")?;
//! client.close(Duration::from_secs(60));
//! assert_eq!(sim.hub().telemetry("d").len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// A simulation that cannot be set up, or stands still, is a failed test although it is not compiled as one.
#![expect(clippy::expect_used, reason = "the library is a test")]

mod censor;
mod chaos;
mod front;
mod link;
mod network;
mod over;
mod platform;
mod rival;
mod sim;
mod world;

pub use censor::Answer;
pub use chaos::{Report, chaos};
pub use network::{Ends, Path, Way};
pub use over::Over;
pub use platform::SimProvider;
pub use sim::Sim;
