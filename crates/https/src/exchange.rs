//! One request and its answer, as a task of the runtime.

use iothub_core::{HttpError, HttpMethod, HttpRequest, HttpResponse};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Response, Url};
use tokio::task::yield_now;

use crate::error;
use crate::runtime::Progress;

/// A request that reqwest takes, and what the answer needs of it.
pub(crate) struct Exchange {
    request: Request,
    peer: String,
    is_local: bool,
    max_response: usize,
}

impl Exchange {
    /// Translates a request; `https_port` stands for 443.
    pub(crate) fn new(request: HttpRequest, https_port: u16) -> Result<Self, HttpError> {
        let mut peer = request.peer();
        let malformed = |detail: String| HttpError::Malformed { peer: request.peer(), detail };
        let mut url = Url::parse(&request.url).map_err(|error| malformed(format!("its URL is wrong: {error}")))?;
        match url.scheme() {
            "https" if url.port().is_none() && request.socket.is_none() => {
                // Cannot fail: an https URL has a host.
                let _ = url.set_port(Some(https_port));
                peer = format!("{}:{https_port}", url.host_str().unwrap_or_default());
            }
            "http" | "https" => {}
            scheme => return Err(malformed(format!("its URL has the scheme {scheme}, not http or https"))),
        }
        let mut translated = Request::new(method(request.method).map_err(malformed)?, url);
        for (name, value) in &request.headers {
            let wrong = || malformed(format!("its header {name:?} has a name or a value that HTTP cannot carry"));
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            translated.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        if !request.body.is_empty() {
            *translated.body_mut() = Some(request.body.clone().into());
        }
        let (is_local, max_response) = (request.socket.is_some(), request.max_response);
        Ok(Self { request: translated, peer, is_local, max_response })
    }

    /// Where it goes.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    pub(crate) async fn run(self, client: Client, progress: Progress) -> Result<HttpResponse, HttpError> {
        // The engine may have stood still for hours: connections that the peer has closed meanwhile must notice that before
        // one of them is used.
        for _ in 0..2 {
            progress.step();
            yield_now().await;
        }
        progress.step();
        let failed = |error: reqwest::Error| error::of(&error, &self.peer, self.is_local);
        let mut response = client.execute(self.request).await.map_err(failed)?;
        progress.step();

        let too_large = || HttpError::TooLarge { peer: self.peer.clone(), limit: self.max_response };
        if response.content_length().is_some_and(|length| length > self.max_response as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            progress.step();
            if body.len() + chunk.len() > self.max_response {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(translate(&response, body))
    }
}

fn method(method: HttpMethod) -> Result<Method, String> {
    Ok(match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        other => return Err(format!("its method {other} is newer than this engine")),
    })
}

fn translate(head: &Response, body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::new(head.status().as_u16(), body);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    response.headers = head.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    response
}
