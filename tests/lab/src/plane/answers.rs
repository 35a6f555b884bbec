//! Answers that a load balancer gives by itself: errors in its own words, fixed responses, redirections.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::serve::Body;

fn answer(status: u16, kind: &str, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("awselb/2.0"));
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    answer
}

/// An error as an ALB words it.
pub(super) fn error(status: u16) -> Response<Body> {
    let reason = match status {
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => "Internal Server Error",
    };
    let title = format!("{status} {reason}");
    let text = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    answer(status, "text/html", text)
}

fn text<'a>(config: &'a Map<String, Value>, name: &str, default: &'a str) -> &'a str {
    config.get(name).and_then(Value::as_str).unwrap_or(default)
}

/// The answer that an action spells out.
pub(super) fn fixed(config: &Map<String, Value>) -> Response<Body> {
    let status = text(config, "StatusCode", "200").parse().unwrap_or(200);
    answer(status, text(config, "ContentType", "text/plain"), text(config, "MessageBody", "").to_owned())
}

/// A redirection, with the parts of the request put where the action names them.
pub(super) fn redirect(
    config: &Map<String, Value>,
    request: &Request<Incoming>,
    port: u16,
    scheme: &str,
) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let port = port.to_string();
    let fill = |text: &str| {
        let text = text.replace("#{protocol}", scheme).replace("#{host}", host).replace("#{port}", &port);
        text.replace("#{path}", path.trim_start_matches('/')).replace("#{query}", query)
    };
    let named = |name, default| fill(text(config, name, default));
    let protocol = named("Protocol", "#{protocol}").to_ascii_lowercase();
    let (host, port) = (named("Host", "#{host}"), named("Port", "#{port}"));
    let (path, query) = (named("Path", "/#{path}"), named("Query", "#{query}"));
    let usual = matches!((&protocol[..], &port[..]), ("http", "80") | ("https", "443"));
    let authority = if usual { host } else { format!("{host}:{port}") };
    let query = if query.is_empty() { query } else { format!("?{query}") };
    let status = if text(config, "StatusCode", "HTTP_302") == "HTTP_301" { 301 } else { 302 };
    let mut answer = answer(status, "text/html", String::new());
    if let Ok(location) = HeaderValue::from_str(&format!("{protocol}://{authority}{path}{query}")) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}
