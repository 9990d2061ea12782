//! Looking names up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use iothub_core::{ConnectionErrorKind, HttpError, Trust};
use iothub_https::Https;
use iothub_net::Resolve;

use super::support::Bench;
use super::support::server::Server;

/// What was asked, and what to say.
#[derive(Clone)]
struct Names {
    asked: Arc<Mutex<Vec<String>>>,
    answer: Result<Vec<SocketAddr>, String>,
    /// Whether a thread wakes the first look before it is answered.
    is_slow: bool,
}

impl Names {
    fn new(answer: Result<Vec<SocketAddr>, String>) -> Self {
        Self { asked: Arc::default(), answer, is_slow: false }
    }

    fn bench(&self) -> Bench {
        let names = self.clone();
        Bench::with(&Https::new().resolver(move || names.clone()), &Trust::Nobody)
    }
}

impl Resolve for Names {
    fn resolve(&mut self, host: &str, _: u16, waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        if std::mem::take(&mut self.is_slow) {
            let waker = waker.clone();
            std::thread::spawn(move || waker.wake());
            return Poll::Pending;
        }
        self.asked.lock().unwrap().push(host.to_owned());
        Poll::Ready(self.answer.clone())
    }
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn the_systems_resolver_is_asked_by_default() {
    let server = Server::saying("hello");
    let response = Bench::plain().get(&format!("http://localhost:{}/", server.port())).unwrap();
    assert_eq!(response.body, "hello");
}

#[test]
fn the_applications_resolver_is_asked_instead_and_the_urls_port_counts() {
    let server = Server::saying("hello");
    let names = Names::new(Ok(vec![here(1)]));
    let mut bench = names.bench();
    bench.get(&format!("http://gateway.invalid:{}/", server.port())).unwrap();
    assert_eq!(*names.asked.lock().unwrap(), ["gateway.invalid"]);
    assert_eq!(server.request().header("host"), Some(&*format!("gateway.invalid:{}", server.port())));
}

#[test]
fn a_resolver_that_needs_time_is_asked_again_when_it_wakes() {
    let server = Server::saying("hello");
    let mut names = Names::new(Ok(vec![here(0)]));
    names.is_slow = true;
    names.bench().get(&format!("http://gateway.invalid:{}/", server.port())).unwrap();
}

#[test]
fn an_address_is_not_looked_up() {
    let server = Server::saying("hello");
    let names = Names::new(Err("never".to_owned()));
    names.bench().get(&server.url("/")).unwrap();
    assert!(names.asked.lock().unwrap().is_empty());
}

#[test]
fn a_name_without_an_address_is_an_error_of_the_look_up() {
    for (answer, text) in [(Err("no such host".to_owned()), "no such host"), (Ok(Vec::new()), "it has no address")] {
        let error = Names::new(answer).bench().get("http://gateway.invalid:80/").unwrap_err();
        let kind = ConnectionErrorKind::Dns { detail: text.to_owned() };
        assert_eq!(error, HttpError::NotConnected { peer: "gateway.invalid:80".to_owned(), kind });
    }
}

#[test]
fn every_address_is_tried() {
    let server = Server::saying("hello");
    let dead = SocketAddr::from(([127, 0, 0, 2], 0));
    let response =
        Names::new(Ok(vec![dead, here(0)])).bench().get(&format!("http://gateway.invalid:{}/", server.port()));
    assert_eq!(response.unwrap().body, "hello");
}
