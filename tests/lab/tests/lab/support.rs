//! A lab, and a client of plain HTTP that adds nothing and hides nothing.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lab::clock::Clock;
use lab::{Lab, LabConfig, Traffic};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// How long a test waits for what must come; only failures take as long.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the client waits for an answer that a test does not expect to stay away.
const ANSWER: Duration = Duration::from_secs(30);

/// A lab in this process, with its own threads.
pub(crate) struct Running {
    pub(crate) lab: Option<Lab>,
    pub(crate) address: SocketAddr,
    runtime: Runtime,
}

/// Starts a lab without traffic.
pub(crate) fn start(speed: u32, limited: bool) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = LabConfig { speed, limited, traffic: Traffic::None, ..LabConfig::default() };
    let lab = runtime.block_on(Lab::start(config)).unwrap();
    let address = lab.endpoint().strip_prefix("http://").unwrap().parse().unwrap();
    Running { lab: Some(lab), address, runtime }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take() {
            self.runtime.block_on(lab.stop());
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// What stands in each element of this name.
    pub(crate) fn texts(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        self.body.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0)).collect()
    }

    /// The code of a refusal, from XML or JSON; empty if it is none.
    pub(crate) fn code(&self) -> String {
        if let Some(code) = self.texts("Code").first().filter(|_| self.status != 200) {
            return (*code).to_owned();
        }
        let value: Value = serde_json::from_str(&self.body).unwrap_or_default();
        value["__type"].as_str().unwrap_or("").to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why} in {}", self.body))
    }

    /// The answer, which must be a good one.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    /// The answer, which must be a refusal with this code.
    #[track_caller]
    pub(crate) fn refused(self, code: &str) -> Self {
        assert!(self.status >= 400 && self.code() == code, "expected {code}, got {} {}", self.status, self.body);
        self
    }
}

/// One request on a connection of its own.
pub(crate) fn http(
    at: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(patience))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n{fields}content-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(io::Error::other)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no head"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {head}")))?;
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if announced.is_some_and(|length| length != body.len()) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut short"));
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Fields that scope a call to a service as a signed one is.
fn scoped(service: &str) -> String {
    format!(
        "authorization: AWS4-HMAC-SHA256 Credential=ANY/20261121/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=00\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    )
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte.into()),
            byte => write!(out, "%{byte:02X}").unwrap(),
        }
        out
    })
}

/// Parameters as a form: what is a list in JSON becomes `member.1` and so on.
fn form(name: &str, value: &Value, out: &mut String) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                form(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, out);
            }
        }
        Value::Array(parts) => {
            for (index, value) in parts.iter().enumerate() {
                form(&format!("{name}.member.{}", index + 1), value, out);
            }
        }
        Value::String(text) => write!(out, "&{name}={}", escape(text)).unwrap(),
        other => write!(out, "&{name}={other}").unwrap(),
    }
}

impl Running {
    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("it runs until it is dropped")
    }

    /// A call of the query protocol, or what broke it.
    pub(crate) fn try_query(
        &self,
        service: &str,
        operation: &str,
        params: &Value,
        patience: Duration,
    ) -> io::Result<Answer> {
        let version = match service {
            "elasticloadbalancing" => "2015-12-01",
            "ec2" => "2016-11-15",
            "sns" => "2010-03-31",
            _ => "2011-06-15",
        };
        let mut body = format!("Action={operation}&Version={version}");
        form("", params, &mut body);
        http(self.address, "POST", "/", &scoped(service), &body, patience)
    }

    /// A call to ELBv2.
    #[track_caller]
    pub(crate) fn elb(&self, operation: &str, params: &Value) -> Answer {
        self.try_query("elasticloadbalancing", operation, params, ANSWER).unwrap()
    }

    /// A call to another service of the query protocols.
    #[track_caller]
    pub(crate) fn query(&self, service: &str, operation: &str, params: &Value) -> Answer {
        self.try_query(service, operation, params, ANSWER).unwrap()
    }

    /// A call of the JSON protocols.
    #[track_caller]
    pub(crate) fn json(&self, prefix: &str, operation: &str, params: &Value) -> Answer {
        let fields = format!("x-amz-target: {prefix}.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        http(self.address, "POST", "/", &fields, &params.to_string(), ANSWER).unwrap()
    }

    #[track_caller]
    pub(crate) fn ecs(&self, operation: &str, params: &Value) -> Answer {
        self.json("AmazonEC2ContainerServiceV20141113", operation, params)
    }

    /// A call to the lab's own API.
    #[track_caller]
    pub(crate) fn own(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = http(self.address, method, &format!("/_lab/{path}"), "", &body, ANSWER).unwrap().ok();
        answer.json()
    }

    /// Puts a fault.
    #[track_caller]
    pub(crate) fn fault(&self, name: &str, op: &str, times: u32) {
        self.own("PUT", "faults", &json!({"name": name, "op": op, "times": times}));
    }

    /// The weights of the listener, source and target, as `DescribeListeners` says.
    #[track_caller]
    pub(crate) fn weights(&self) -> (String, String) {
        let answer = self.elb("DescribeListeners", &json!({"ListenerArns": [self.lab().scene().listener_arn]})).ok();
        let weights = answer.texts("Weight");
        (weights[0].to_owned(), weights[1].to_owned())
    }

    /// The parameters of `ModifyListener` with these weights.
    pub(crate) fn weighing(&self, source: u32, target: u32) -> Value {
        let scene = self.lab().scene();
        json!({"ListenerArn": scene.listener_arn, "DefaultActions": [{"Type": "forward", "ForwardConfig": {
        "TargetGroups": [
            {"TargetGroupArn": scene.source_tg, "Weight": source},
            {"TargetGroupArn": scene.target_tg, "Weight": target},
        ]}}]})
    }

    /// Waits until `look` finds something.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let clock = Clock::start(1);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(clock.real() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
