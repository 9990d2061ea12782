//! Routes of an Edge device: which messages of its modules go to which inputs, and which to the hub. In IoT Edge's own syntax
//! (docs/hub-over-mqtt.md 6), without conditions.

use std::collections::BTreeMap;
use std::fmt;

use crate::hub::registry::{Identity, check_module_id};

/// The routes of every Edge device. A device without an entry is no Edge device: its modules talk to the hub.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(BTreeMap<String, Vec<Route>>);

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    from: Source,
    into: Endpoint,
}

/// Which messages a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    /// Of this module only.
    module: Option<String>,
    outputs: Outputs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outputs {
    /// Whether or not the message names an output.
    Whatever,
    /// The message names one.
    Any,
    One(String),
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The hub itself.
    Upstream,
    /// An input of a module of the same device.
    Input { module: String, input: String },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream => f.write_str("$upstream"),
            Self::Input { module, input } => write!(f, "/modules/{module}/inputs/{input}"),
        }
    }
}

impl Routes {
    /// Reads the routes of each device. The error names the one that is not understood.
    pub(crate) fn parse(texts: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut routes = Self::default();
        for (device, texts) in texts {
            let parsed: Result<Vec<Route>, String> = texts.iter().map(|text| Route::parse(text)).collect();
            let parsed = parsed.map_err(|problem| format!("of device '{device}' {problem}"))?;
            routes.0.insert(device.clone(), parsed);
        }
        Ok(routes)
    }

    /// Whether the device has routes, be there none among them.
    pub(crate) fn is_edge(&self, device: &str) -> bool {
        self.0.contains_key(device)
    }

    /// Where this message goes, each place once; `None`: it is not an Edge device's module's.
    pub(crate) fn of(&self, sender: &Identity, output: Option<&str>) -> Option<Vec<Endpoint>> {
        let (routes, module) = (self.0.get(&sender.device)?, sender.module.as_deref()?);
        let mut places = Vec::new();
        for route in routes.iter().filter(|route| route.from.takes(module, output)) {
            if !places.contains(&route.into) {
                places.push(route.into.clone());
            }
        }
        Some(places)
    }
}

impl Source {
    fn takes(&self, module: &str, output: Option<&str>) -> bool {
        self.module.as_deref().is_none_or(|only| only == module)
            && match &self.outputs {
                Outputs::Whatever => true,
                Outputs::Any => output.is_some(),
                Outputs::One(name) => output == Some(name),
            }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (module, outputs) = match text.split('/').collect::<Vec<_>>()[..] {
            ["", "*"] | ["", "messages", "*"] | ["", "messages", "modules", "*"] => (None, Outputs::Whatever),
            ["", "messages", "modules", module, "*"] => (Some(module), Outputs::Whatever),
            ["", "messages", "modules", module, "outputs", "*"] => (Some(module), Outputs::Any),
            ["", "messages", "modules", module, "outputs", output] if is_name(output) => {
                (Some(module), Outputs::One(output.to_owned()))
            }
            _ => {
                return Err(format!(
                    "the source '{text}' is not known; there are /messages/*, /messages/modules/*, /messages/modules/<module>/*, \
                     /messages/modules/<module>/outputs/* and /messages/modules/<module>/outputs/<output>"
                ));
            }
        };
        if module.is_some_and(|module| check_module_id("", module).is_err()) {
            return Err(format!("the source '{text}' names no possible module"));
        }
        Ok(Self { module: module.map(str::to_owned), outputs })
    }
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("$upstream") {
            return Ok(Self::Upstream);
        }
        let unknown = || {
            format!(
                "the sink '{text}' is not known; there are $upstream and BrokeredEndpoint(\"/modules/<module>/inputs/<input>\")"
            )
        };
        let (function, argument) = text.split_once('(').ok_or_else(unknown)?;
        if !function.trim_end().eq_ignore_ascii_case("BrokeredEndpoint") {
            return Err(unknown());
        }
        let argument = argument.strip_suffix(')').ok_or_else(unknown)?.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| argument.strip_prefix(*quote)?.strip_suffix(*quote));
        match quoted.ok_or_else(unknown)?.split('/').collect::<Vec<_>>()[..] {
            ["", "modules", module, "inputs", input] if check_module_id("", module).is_ok() && is_name(input) => {
                Ok(Self::Input { module: module.to_owned(), input: input.to_owned() })
            }
            _ => Err(unknown()),
        }
    }
}

impl Route {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = || {
            let rest = keyword(text.trim(), "FROM").ok_or("it does not begin with FROM")?;
            let (source, rest) = rest.split_once(char::is_whitespace).ok_or("it ends behind its source")?;
            let rest = rest.trim_start();
            if keyword(rest, "WHERE").is_some() {
                return Err("conditions (WHERE) are not supported".to_owned());
            }
            let sink = keyword(rest, "INTO").ok_or_else(|| format!("instead of INTO it has '{rest}'"))?;
            Ok(Self { from: Source::parse(source)?, into: Endpoint::parse(sink)? })
        };
        parsed().map_err(|problem| format!("has the route '{text}', which is not understood: {problem}"))
    }
}

/// What follows the keyword, which may be in any case.
fn keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case(keyword).then(|| rest.trim_start())
}

/// Whether an input or output can be called so: it is a segment of a topic.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '+', '#', '*']) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(texts: &[&str]) -> Result<Routes, String> {
        Routes::parse(&[("d".to_owned(), texts.iter().map(|text| (*text).to_owned()).collect())].into())
    }

    fn places(texts: &[&str], module: &str, output: Option<&str>) -> Vec<String> {
        let places = routes(texts).unwrap().of(&Identity::module("d", module), output).unwrap();
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_source_takes_what_it_names() {
        let route = |source: &str| format!("FROM {source} INTO $upstream");
        for (source, one, other_output, none, other_module) in [
            ("/*", true, true, true, true),
            ("/messages/*", true, true, true, true),
            ("/messages/modules/*", true, true, true, true),
            ("/messages/modules/a/*", true, true, true, false),
            ("/messages/modules/a/outputs/*", true, true, false, false),
            ("/messages/modules/a/outputs/o", true, false, false, false),
        ] {
            let taken = |module, output| !places(&[&route(source)], module, output).is_empty();
            assert_eq!(taken("a", Some("o")), one, "{source}");
            assert_eq!(taken("a", Some("O")), other_output, "{source}");
            assert_eq!(taken("a", None), none, "{source}");
            assert_eq!(taken("b", Some("o")), other_module, "{source}");
        }
    }

    #[test]
    fn every_route_counts_and_every_place_once() {
        let texts = [
            "FROM /messages/* INTO $upstream",
            "from /messages/modules/a/* into BrokeredEndpoint( '/modules/b/inputs/i' )",
            "FROM  /messages/modules/a/outputs/o  INTO  brokeredendpoint(\"/modules/b/inputs/i\")",
            "FROM /messages/modules/a/outputs/o INTO BrokeredEndpoint(\"/modules/a/inputs/i\")",
        ];
        assert_eq!(places(&texts, "a", Some("o")), ["$upstream", "/modules/b/inputs/i", "/modules/a/inputs/i"]);
        assert_eq!(places(&texts, "c", None), ["$upstream"]);
        assert_eq!(places(&[], "a", None), [""; 0]);
    }

    #[test]
    fn only_modules_of_an_edge_device_have_routes() {
        let routes = routes(&["FROM /messages/* INTO $upstream"]).unwrap();
        assert_eq!(routes.of(&Identity::device("d"), None), None);
        assert_eq!(routes.of(&Identity::module("e", "a"), None), None);
        assert!(routes.is_edge("d") && !routes.is_edge("e"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, part) in [
            ("", "begin with FROM"),
            ("/messages/* INTO $upstream", "begin with FROM"),
            ("FROM /messages/*", "ends behind its source"),
            ("FROM /messages/* TO $upstream", "instead of INTO"),
            ("FROM /messages/* WHERE a = 1 INTO $upstream", "WHERE"),
            ("FROM /twinChangeNotifications INTO $upstream", "'/twinChangeNotifications' is not known"),
            ("FROM messages/* INTO $upstream", "'messages/*' is not known"),
            ("FROM /messages/modules/a INTO $upstream", "'/messages/modules/a' is not known"),
            ("FROM /messages/modules/a/outputs/ INTO $upstream", "is not known"),
            ("FROM /messages/modules/ä/* INTO $upstream", "no possible module"),
            ("FROM /messages/* INTO upstream", "'upstream' is not known"),
            ("FROM /messages/* INTO Endpoint(\"/modules/b/inputs/i\")", "is not known"),
            ("FROM /messages/* INTO BrokeredEndpoint(/modules/b/inputs/i)", "is not known"),
            ("FROM /messages/* INTO BrokeredEndpoint(\"/modules/b/outputs/i\")", "is not known"),
            ("FROM /messages/* INTO BrokeredEndpoint(\"/modules/b/inputs/\")", "is not known"),
            ("FROM /messages/* INTO BrokeredEndpoint(\"/modules/b/inputs/i\") or so", "is not known"),
        ] {
            let problem = routes(&[text]).unwrap_err();
            assert!(problem.contains(part) && problem.contains(text) && problem.contains("'d'"), "{text}: {problem}");
        }
    }
}
