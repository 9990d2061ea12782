//! Commands are direct methods whose names say which component they are for.

use crate::method::MethodRequest;

impl MethodRequest {
    /// Which component of the device model the command is for; `None` for the root.
    ///
    /// The method's name is split at its first `*`: `thermostat1*getMaxMinReport` is the command `getMaxMinReport` of
    /// `thermostat1`. A name that begins with `*` names no component and is left whole, so that it is a command of the
    /// root that no model has.
    ///
    /// ```no_run
    /// # fn run(request: iothub_core::MethodRequest) -> Result<(), Box<dyn std::error::Error>> {
    /// match (request.component(), request.command()) {
    ///     (None, "reboot") => request.respond(200, "")?,
    ///     (Some("thermostat1"), "getMaxMinReport") => request.respond(200, r#"{"maxTemp":28.1,"minTemp":19.5}"#)?,
    ///     _ => request.respond(404, "")?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "IOTHUB_CLIENT_COMMAND_REQUEST")]
    pub fn component(&self) -> Option<&str> {
        split(self.name()).0
    }

    /// The command: the method's name without its [`component`](Self::component).
    #[doc(alias = "IoTHubDeviceClient_LL_SubscribeToCommands")]
    #[doc(alias = "IoTHubModuleClient_LL_SubscribeToCommands")]
    pub fn command(&self) -> &str {
        split(self.name()).1
    }
}

fn split(method: &str) -> (Option<&str>, &str) {
    match method.split_once('*') {
        Some((component, command)) if !component.is_empty() => (Some(component), command),
        _ => (None, method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_split_at_its_first_asterisk() {
        assert_eq!(split("thermostat1*getMaxMinReport"), (Some("thermostat1"), "getMaxMinReport"));
        assert_eq!(split("reboot"), (None, "reboot"));
        assert_eq!(split("a*b*c"), (Some("a"), "b*c"));
        assert_eq!(split("a*"), (Some("a"), ""));
        assert_eq!(split(""), (None, ""));
    }

    #[test]
    fn no_component_is_empty() {
        assert_eq!(split("*reboot"), (None, "*reboot"));
        assert_eq!(split("*"), (None, "*"));
    }
}
