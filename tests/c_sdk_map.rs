//! Whoever comes from the C SDK finds every function: `docs/c-sdk-map.md` has a row for each, and each row is true.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use iothub_client::{
    ClientOption, DeviceClient, Endpoint, HttpProvider, IncomingMessage, MethodInvocation, MethodRequest, ModuleClient,
    Provider, Registration, ReportedProperties, RetryPolicy, SharedAccessKey, SharedTransport, Transport,
    TwinProperties, TwinProperty, TwinUpdate,
};

const LIMIT: Duration = Duration::from_secs(1);

/// The two headers of the C SDK, and what was added to the families later.
const CLIENT: &[&str] = &[
    "CreateFromConnectionString",
    "Create",
    "CreateWithTransport",
    "CreateFromDeviceAuth",
    "Destroy",
    "SendEventAsync",
    "GetSendStatus",
    "SetMessageCallback",
    "SetConnectionStatusCallback",
    "SetRetryPolicy",
    "GetRetryPolicy",
    "GetLastMessageReceiveTime",
    "DoWork",
    "SetOption",
    "SetDeviceTwinCallback",
    "SendReportedState",
    "SetDeviceMethodCallback",
    "SetDeviceMethodCallback_Ex",
    "DeviceMethodResponse",
    "UploadToBlob",
    "UploadMultipleBlocksToBlob",
    "UploadMultipleBlocksToBlobEx",
];
const MODULE: &[&str] = &[
    "CreateFromConnectionString",
    "Destroy",
    "SendEventAsync",
    "GetSendStatus",
    "SetMessageCallback",
    "SetConnectionStatusCallback",
    "SetRetryPolicy",
    "GetRetryPolicy",
    "GetLastMessageReceiveTime",
    "DoWork",
    "SetOption",
    "SetModuleTwinCallback",
    "SendReportedState",
    "GetTwinAsync",
    "SetModuleMethodCallback",
    "SendEventToOutputAsync",
    "SetInputMessageCallback",
];
const LATER_OF_BOTH: &[&str] = &[
    "SendTelemetryAsync",
    "SendMessageDisposition",
    "GetTwinAsync",
    "GetPropertiesAsync",
    "GetPropertiesAndSubscribeToUpdatesAsync",
    "SendPropertiesAsync",
    "SubscribeToCommands",
];
const LATER_OF_DEVICES: &[&str] = &[
    "UploadMultipleBlocksToBlob",
    "AzureStorageInitializeBlobUpload",
    "AzureStorageCreateClient",
    "AzureStoragePutBlock",
    "AzureStoragePutBlockList",
    "AzureStorageNotifyBlobUploadCompletion",
    "AzureStorageDestroyClient",
];
const LATER_OF_MODULES: &[&str] = &["CreateFromEnvironment", "DeviceMethodInvoke", "ModuleMethodInvoke"];
const PROPERTIES: &[&str] = &[
    "Serializer_CreateReported",
    "Serializer_CreateWritableResponse",
    "Serializer_Destroy",
    "Deserializer_Create",
    "Deserializer_GetVersion",
    "Deserializer_GetNext",
    "Deserializer_Destroy",
    "DeserializerProperty_Destroy",
];
const TRANSPORT: &[&str] = &[
    "Create",
    "Destroy",
    "GetLLTransport",
    "SetCallbackContext",
    "Register",
    "Unregister",
    "GetHostname",
    "SetOption",
    "SetRetryPolicy",
    "GetSendStatus",
    "DoWork",
    "ProcessItem",
    "Subscribe",
    "Unsubscribe",
    "Subscribe_DeviceTwin",
    "Unsubscribe_DeviceTwin",
    "GetTwinAsync",
    "Subscribe_DeviceMethod",
    "Unsubscribe_DeviceMethod",
    "DeviceMethod_Response",
    "Subscribe_InputQueue",
    "Unsubscribe_InputQueue",
    "SendMessageDisposition",
    "GetSupportedPlatformInfo",
];

/// Every C name that must have a row.
fn c_names() -> BTreeSet<String> {
    let of =
        |family: &'static str, names: &'static [&'static str]| names.iter().map(move |name| format!("{family}{name}"));
    of("IoTHubClient_LL_", CLIENT)
        .chain(of("IoTHubModuleClient_LL_", MODULE))
        .chain(of("IoTHubDeviceClient_LL_", LATER_OF_BOTH))
        .chain(of("IoTHubModuleClient_LL_", LATER_OF_BOTH))
        .chain(of("IoTHubDeviceClient_LL_", LATER_OF_DEVICES))
        .chain(of("IoTHubModuleClient_LL_", LATER_OF_MODULES))
        .chain(of("IoTHubClient_Properties_", PROPERTIES))
        .chain(of("IoTHubTransport_", TRANSPORT))
        .chain(of("IoTHub_", &["Init", "Deinit"]))
        .collect()
}

/// A row of the page: its C names, its Rust items, and whether it is planned only.
struct Row {
    c: Vec<String>,
    rust: Vec<String>,
    planned: bool,
}

fn rows() -> Vec<Row> {
    let in_code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let page = include_str!("../docs/c-sdk-map.md").lines();
    page.filter(|line| line.starts_with("| `IoTHub"))
        .map(|line| {
            let cells: Vec<_> = line.split('|').collect();
            Row { c: in_code(cells[1]), rust: in_code(cells[2]), planned: cells[2].trim() == "planned" }
        })
        .collect()
}

/// Names that stand as `#[doc(alias = "...")]` in the sources.
fn aliases() -> BTreeSet<String> {
    fn read(directory: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("#[doc(alias = \"").skip(1).filter_map(|rest| rest.split('"').next());
                into.extend(names.map(str::to_owned));
            }
        }
    }
    let mut aliases = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/core/src"), &mut aliases);
    aliases
}

/// The names of methods, each proved by a call that is compiled and never made.
macro_rules! methods {
    ($($type:ident . $method:ident ( $($argument:expr),* );)*) => {
        [$({
            #[allow(unused_mut, reason = "some take the value, some a reference")]
            let _ = |mut value: $type| { let _ = value.$method($($argument),*); };
            concat!(stringify!($type), "::", stringify!($method))
        }),*]
    };
}

/// The names of functions that take no generic argument, each proved by its path.
macro_rules! functions {
    ($($type:ident :: $function:ident;)*) => {
        [$({
            let _ = <$type>::$function;
            concat!(stringify!($type), "::", stringify!($function))
        }),*]
    };
}

/// For a proof; it is never called.
fn received<'a>() -> &'a TwinProperty<'a> {
    unreachable!("proofs are compiled, not run")
}

/// The Rust items that exist.
fn rust_items() -> BTreeSet<String> {
    type DynTransport = dyn Transport;
    type DynProvider = dyn Provider;
    #[expect(dead_code, reason = "proofs are compiled, not run")]
    fn from_environment(provider: &dyn Provider, https: impl HttpProvider + 'static) {
        let _ = ModuleClient::create_from_environment(provider, https);
    }
    let _ = |key: SharedAccessKey, provider: &dyn Provider| DeviceClient::create("hub", "device", key, provider);
    let _ = |shared: SharedTransport| SharedTransport::create(Endpoint::new("hub"), shared);
    let _ = |registration: Registration| registration.product_info;
    let _ = |properties: TwinProperties<'_>| (properties.version(), properties.iter().count());
    let by_hand = [
        "DeviceClient::create",
        "ModuleClient::create_from_environment",
        "SharedTransport::create",
        "SharedTransport",
        "Registration",
        "Transport",
        "ReportedProperties",
        "TwinProperties",
        "TwinProperties::version",
        "TwinProperties::iter",
    ];
    let functions = functions! {
        DeviceClient::create_from_connection_string;
        DeviceClient::builder;
        ModuleClient::create_from_connection_string;
        DynTransport::register;
        DynTransport::unregister;
        DynTransport::subscribe;
        DynTransport::submit;
        DynTransport::peer;
        DynTransport::set_option;
        DynTransport::do_work;
        DynTransport::poll_event;
        DynProvider::transport;
    };
    let methods = methods! {
        DeviceClient.close(LIMIT);
        DeviceClient.do_work();
        DeviceClient.send_event("message");
        DeviceClient.send_status();
        DeviceClient.set_message_callback(|_, _| ());
        DeviceClient.set_connection_status_callback(|_, _| ());
        DeviceClient.set_retry_policy(RetryPolicy::None);
        DeviceClient.retry_policy();
        DeviceClient.last_message_receive_time();
        DeviceClient.set_option(ClientOption::MessageTimeout(None));
        DeviceClient.set_twin_callback(|_, _| ());
        DeviceClient.get_twin(|_, _| ());
        DeviceClient.send_reported_state("{}");
        DeviceClient.set_method_callback(|_, _| ());
        ModuleClient.close(LIMIT);
        ModuleClient.do_work();
        ModuleClient.send_event("message");
        ModuleClient.send_event_to_output("message", "output");
        ModuleClient.send_status();
        ModuleClient.set_message_callback(|_, _| ());
        ModuleClient.set_input_callback("input", |_, _| ());
        ModuleClient.set_connection_status_callback(|_, _| ());
        ModuleClient.set_retry_policy(RetryPolicy::None);
        ModuleClient.retry_policy();
        ModuleClient.last_message_receive_time();
        ModuleClient.set_option(ClientOption::MessageTimeout(None));
        ModuleClient.set_twin_callback(|_, _| ());
        ModuleClient.get_twin(|_, _| ());
        ModuleClient.send_reported_state("{}");
        ModuleClient.set_method_callback(|_, _| ());
        ModuleClient.invoke_device_method("device", MethodInvocation::new("method"), |_, _| ());
        ModuleClient.invoke_module_method("device", "module", MethodInvocation::new("method"), |_, _| ());
        IncomingMessage.complete();
        MethodRequest.respond(200, "{}");
        MethodRequest.command();
        ReportedProperties.set("name", 1);
        ReportedProperties.acknowledge(received(), 200, "");
        TwinUpdate.properties();
    };
    let names = functions.iter().chain(&methods).map(|name| name.trim_start_matches("Dyn")).chain(by_hand);
    names.map(str::to_owned).collect()
}

#[test]
fn every_function_of_the_c_sdk_has_one_row() {
    let mut seen = BTreeSet::new();
    for name in rows().into_iter().flat_map(|row| row.c) {
        assert!(seen.insert(name.clone()), "{name} has two rows");
    }
    let missing: Vec<_> = c_names().difference(&seen).cloned().collect();
    assert!(missing.is_empty(), "docs/c-sdk-map.md has no row for {missing:?}");
    let unknown: Vec<_> = seen.difference(&c_names()).cloned().collect();
    assert!(unknown.is_empty(), "the C SDK has no {unknown:?}");
}

#[test]
fn every_rust_item_of_the_map_compiles() {
    let items = rust_items();
    for row in rows() {
        assert_ne!(row.planned, !row.rust.is_empty(), "{:?} has neither an item nor a plan, or both", row.c);
        for item in &row.rust {
            assert!(items.contains(item), "{item}, of {:?}, is not in the list that is compiled here", row.c);
        }
    }
}

#[test]
fn every_c_name_is_found_in_the_documentation() {
    let aliases = aliases();
    for name in rows().into_iter().filter(|row| !row.planned).flat_map(|row| row.c) {
        assert!(aliases.contains(&name), "nothing has #[doc(alias = {name:?})]");
    }
}

#[test]
fn nothing_but_uploads_is_planned() {
    let planned: Vec<_> = rows().into_iter().filter(|row| row.planned).collect();
    assert_eq!(planned.len(), 3);
    let is_upload = |name: &String| name.contains("Upload") || name.contains("AzureStorage");
    assert!(planned.iter().flat_map(|row| &row.c).all(is_upload));
}
