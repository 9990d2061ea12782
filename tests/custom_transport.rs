//! The transport of `examples/custom_transport` does what `tests/conformance` says of the concerns that it is for. So the
//! suite runs over a transport that is not ours: public items of the client, and no network.

#[path = "../examples/custom_transport/transport/mod.rs"]
mod transport;

use std::net::SocketAddr;

use iothub_client::Provider;
use iothub_conformance::{Absent, Settings, Subject, suite};
use iothub_emulator::{DropPoint, Fault, Hub, TwinReplyFault};

use transport::Local;

struct InProcess;

impl Subject for InProcess {
    fn provider(&self, hub: &Hub, _: &Settings) -> Box<dyn Provider + Send + Sync> {
        Box::new(Local::new(hub.clone()))
    }

    fn address(&self, _: &Hub) -> Option<SocketAddr> {
        None
    }

    /// Nothing is late, and there are no packets to be lost or halved.
    fn knows(&self, fault: &Fault) -> bool {
        !matches!(
            fault,
            Fault::Drop { at: DropPoint::MidPacket, .. }
                | Fault::DropPubacks { .. }
                | Fault::DelayPubacks { .. }
                | Fault::ReorderPubacks { .. }
                | Fault::DelaySuback { .. }
                | Fault::AmqpDelayDesired { .. }
                | Fault::LateMethod { .. }
                | Fault::TwinReply(TwinReplyFault::Delay(_))
        )
    }

    fn absent(&self) -> Absent {
        let file = include_str!("conformance/matrix.toml");
        Absent::of("local", file).unwrap_or_else(|error| panic!("tests/conformance/matrix.toml: {error}"))
    }

    /// Each message is settled by its own name.
    fn settles_in_order(&self) -> bool {
        false
    }

    fn marks_repeats(&self) -> bool {
        false
    }
}

suite!(in_process, InProcess, [telemetry, confirmation, c2d, modules, twin, methods, rivals, close]);
