use super::*;

fn to_device(method: MethodInvocation) -> Invocation {
    Invocation { device: "d".to_owned(), module: None, method }
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.expose())
}

#[test]
fn the_request_is_what_an_edge_gateway_wants() {
    let caller = Identity::module("hub.example", "edge-1", "filter");
    let method = MethodInvocation::new("say \"hi\"\n")
        .with_payload(r#"{"a": 1.50}"#)
        .with_connect_timeout(Duration::from_secs(7));
    let invocation = Invocation { device: "a%b".into(), module: Some("c@d".into()), method };
    let request = invocation.request("gateway", &caller, Some(&Secret::new("token")));
    assert_eq!(request.url, "https://gateway/twins/a%25b/modules/c%40d/methods?api-version=2020-09-30");
    assert_eq!(header(&request, "Authorization"), "token");
    assert_eq!(header(&request, "x-ms-edge-moduleId"), "edge-1/filter");
    assert_eq!(header(&request, "Content-Type"), "application/json; charset=utf-8");
    let body = std::str::from_utf8(&request.body).unwrap();
    let expected = r#"{"methodName":"say \"hi\"\n","responseTimeoutInSeconds":30,"connectTimeoutInSeconds":7,"payload":{"a": 1.50}}"#;
    assert_eq!(body, expected);

    let request = to_device(MethodInvocation::new("m")).request("gateway", &caller, None);
    assert_eq!(request.url, "https://gateway/twins/d/methods?api-version=2020-09-30");
    assert_eq!(header(&request, "Authorization"), "");
}

#[test]
fn each_mistake_is_named() {
    let error = |method: MethodInvocation| to_device(method).check().unwrap_err();
    let call = || MethodInvocation::new("m");
    let seconds = Duration::from_secs;
    assert_eq!(error(MethodInvocation::new("")), InvocationError::Name { characters: 0, limit: 100 });
    let long = MethodInvocation::new("ü".repeat(101));
    assert_eq!(error(long), InvocationError::Name { characters: 101, limit: 100 });
    assert!(to_device(MethodInvocation::new("ü".repeat(100))).check().is_ok());
    assert!(matches!(error(call().with_payload("{")), InvocationError::NotJson(_)));
    assert!(matches!(error(call().with_payload("")), InvocationError::NotJson(_)));
    let large = format!("\"{}\"", "x".repeat(MAX_METHOD_PAYLOAD));
    assert!(matches!(error(call().with_payload(large)), InvocationError::PayloadTooLarge { .. }));
    for wrong in [seconds(4), seconds(301), Duration::from_millis(5500)] {
        assert_eq!(error(call().with_response_timeout(wrong)), InvocationError::ResponseTimeout(wrong));
    }
    for wrong in [seconds(301), Duration::from_millis(500)] {
        assert_eq!(error(call().with_connect_timeout(wrong)), InvocationError::ConnectTimeout(wrong));
    }
    for wrong in ["", ".", "..", "a/b", "a b"] {
        let to = |device: &str, module: Option<&str>| {
            let (device, module) = (device.to_owned(), module.map(str::to_owned));
            Invocation { device, module, method: call() }.check().unwrap_err()
        };
        assert!(matches!(to(wrong, None), InvocationError::DeviceId(_)));
        assert!(matches!(to("d", Some(wrong)), InvocationError::ModuleId(_)));
    }
}

#[test]
fn an_answer_keeps_its_payload_as_it_came() {
    let read = |body: &'static str| read_response(&HttpResponse::new(200, body));
    let answer = read(r#"{"status":-7,"payload": {"a" : 1.50}, "more":1}"#).unwrap();
    assert_eq!((answer.status, &answer.payload[..]), (-7, br#"{"a" : 1.50}"#.as_slice()));
    assert_eq!(read(r#"{"status":200,"payload":null}"#).unwrap().payload, "null");
    assert_eq!(read(r#"{"status":200}"#).unwrap().payload, "null");
    for malformed in ["", "{}", r#"{"status":"200"}"#, "[]", r#"{"status":3000000000}"#] {
        assert!(matches!(read(malformed), Err(InvokeError::Malformed(_))), "{malformed}");
    }
}

#[test]
fn an_error_repeats_what_the_gateway_said() {
    let detail = |body: &str| match read_response(&HttpResponse::new(404, body.to_owned())) {
        Err(InvokeError::Status { status: 404, detail }) => detail,
        other => panic!("{other:?}"),
    };
    assert_eq!(detail(r#"{"message":"gone"}"#), "gone");
    assert_eq!(detail(r#"{"Message":"gone"}"#), "gone");
    assert_eq!(detail(r#""gone""#), "gone");
    assert_eq!(detail("gone"), "gone");
    assert_eq!(detail(""), "");
    assert_eq!(detail(&"x".repeat(1000)).len(), MAX_DETAIL);
}

#[test]
fn guids_are_of_version_4() {
    let guid = guid();
    let parts: Vec<_> = guid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&guid[14..15], "4");
    assert!("89ab".contains(&guid[19..20]), "{guid}");
}

#[test]
fn no_payload_shows_in_debug() {
    let method = MethodInvocation::new("m").with_payload(r#""geheim""#);
    let answer = MethodResponse { status: 200, payload: "geheim".into() };
    assert!(!format!("{method:?} {answer:?}").contains("geheim"));
}
