//! The proxies that are compared, each with one worker on core 0, and the upstream behind them on core 1.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{CONNECTIONS, capture::TOPIC};
use tidegate_tests::servers::{Process, free_port, nginx};

/// haproxy reserves two descriptors for each connection it may have, and 20,000 is a common limit.
const HAPROXY_CONNECTIONS: usize = 9000;

const PROXY_CORE: &str = "0";

/// How long a proxy may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// One running proxy.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// How it was started and configured, for the report.
    pub(crate) configuration: String,
    pub(crate) process: Process,
    pub(crate) port: u16,
    home: PathBuf,
    binary: PathBuf,
    upstreams: Vec<u16>,
    /// Where Tidegate captures to.
    brokers: Option<String>,
}

pub(crate) const NAMES: [&str; 3] = ["tidegate", "nginx", "haproxy"];

/// Both sides: two servers of one nginx. It inherits core 1 from this process.
pub(crate) fn upstream(folder: &Path) -> nginx::Nginx {
    let folder = folder.join("upstream");
    fs::create_dir_all(&folder).expect("a new folder");
    nginx::upstreams(&folder, &["source", "target"])
}

/// All proxies in front of the upstream.
pub(crate) fn all(folder: &Path, binary: &Path, upstreams: &[u16], brokers: Option<&str>) -> Vec<Peer> {
    make_certificate(folder);
    NAMES.iter().map(|name| Peer::start(name, folder, binary, upstreams, false, brokers)).collect()
}

impl Peer {
    fn start(
        name: &'static str,
        folder: &Path,
        binary: &Path,
        upstreams: &[u16],
        tls: bool,
        brokers: Option<&str>,
    ) -> Self {
        let port = free_port();
        let home = folder.join(format!("{name}-{port}"));
        fs::create_dir_all(&home).expect("a new folder");
        let (mut process, configuration) = match name {
            "nginx" => nginx_proxy(&home, folder, port, upstreams[0], tls),
            "haproxy" => haproxy(&home, folder, port, upstreams[0], tls),
            _ => tidegate(&home, (tls.then_some(folder), binary), port, upstreams, brokers),
        };
        process.wait_for_port(port, START_MAX);
        let brokers = brokers.map(str::to_owned);
        Self {
            name,
            configuration,
            process,
            port,
            home,
            binary: binary.to_owned(),
            upstreams: upstreams.to_vec(),
            brokers,
        }
    }

    /// The most connections it can have here.
    pub(crate) fn connections_max(&self) -> usize {
        if self.name == "haproxy" { HAPROXY_CONNECTIONS - CONNECTIONS } else { usize::MAX }
    }

    /// A fresh process, with or without TLS.
    pub(crate) fn restart(&mut self, folder: &Path, tls: bool) {
        *self = Self::start(self.name, folder, &self.binary, &self.upstreams, tls, self.brokers.as_deref());
    }
}

/// `program` on the proxy's core.
fn pinned(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", PROXY_CORE]).arg(program);
    command
}

/// How many programs want all of the proxy's core beside the proxy, at least. With one, the proxy has half a core, and the generator's
/// core, which is the upstream's too, is full at about the same rate: the cheapest proxy then waits now and again, and
/// pays for falling asleep and being woken what the others do not. With two it is surely the bottleneck.
pub(crate) const COMPETITORS: usize = 2;

/// So many programs that leave the proxy its share of its core.
pub(crate) fn competitors(peer: &Peer, count: usize) -> Vec<Process> {
    let compete = |_| {
        let mut command = pinned("sh");
        // No longer than this process, however it ends.
        command.args(["-c", "while [ -d /proc/$0 ]; do :; done", &std::process::id().to_string()]);
        Process::start("competitor", &peer.home, command)
    };
    (0..count).map(compete).collect()
}

fn tidegate(
    home: &Path,
    (certificate, binary): (Option<&Path>, &Path),
    port: u16,
    upstreams: &[u16],
    brokers: Option<&str>,
) -> (Process, String) {
    let mut arguments: Vec<String> = vec!["proxy".into(), "--listen".into(), format!("127.0.0.1:{port}")];
    if let Some(folder) = certificate {
        let paths = [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")];
        arguments.extend(
            paths.into_iter().flat_map(|(flag, file)| [flag.to_owned(), folder.join(file).display().to_string()]),
        );
    } else {
        arguments.push("--plaintext".into());
    }
    // Captured traffic all goes to one side, as it does before a cutover.
    let sides = if brokers.is_some() { &["--source"][..] } else { &["--source", "--target"] };
    for (flag, upstream) in sides.iter().zip(upstreams) {
        arguments.extend([(*flag).to_owned(), format!("http://127.0.0.1:{upstream}")]);
    }
    match brokers {
        Some(brokers) => {
            let losses = home.join("losses.jsonl").display().to_string();
            let flags = ["--capture", "kafka", "--kafka", brokers, "--topic", TOPIC, "--create-topic", "2"];
            arguments.extend(flags.map(str::to_owned));
            arguments.extend(["--on-capture-failure", "refuse", "--loss-log", &losses].map(str::to_owned));
        }
        None => arguments.extend(["--weight", "500", "--no-capture"].map(str::to_owned)),
    }
    arguments.extend(["--workers", "1", "--idle-timeout", "10m"].map(str::to_owned));
    let shown = format!("tidegate {}", arguments.join(" "));
    let mut command = pinned(binary);
    command.args(arguments).current_dir(home);
    (Process::start("tidegate", home, command), shown)
}

fn nginx_proxy(home: &Path, folder: &Path, port: u16, upstream: u16, tls: bool) -> (Process, String) {
    let listen = if tls {
        let folder = folder.display();
        format!("{port} ssl backlog=4096; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem")
    } else {
        format!("{port} backlog=4096")
    };
    // Kept-alive on both ends and bodies streamed, as in ours; buffers large enough that none goes to disk.
    let text = format!(
        "worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_buffer_size 128k;
  client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; keepalive_timeout 600s; }}
  server {{
    listen 127.0.0.1:{listen};
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_request_buffering off;
      proxy_buffers 8 32k;
    }}
  }}
}}
"
    );
    let file = home.join("nginx.conf");
    fs::write(&file, &text).expect("a new file");
    let mut command = pinned(nginx::program());
    command.arg("-p").arg(home).arg("-c").arg(&file).args(["-e", "stderr"]);
    (Process::start("nginx", home, command), text)
}

fn haproxy(home: &Path, folder: &Path, port: u16, upstream: u16, tls: bool) -> (Process, String) {
    let tls = if tls { format!(" ssl crt {}/both.pem", folder.display()) } else { String::new() };
    let text = format!(
        "global
  nbthread 1
  maxconn {HAPROXY_CONNECTIONS}
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend in
  bind 127.0.0.1:{port} backlog 4096{tls}
  default_backend up
backend up
  server up 127.0.0.1:{upstream}
"
    );
    let file = home.join("haproxy.cfg");
    fs::write(&file, &text).expect("a new file");
    let program = if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
    let mut command = pinned(program);
    command.arg("-db").arg("-f").arg(&file);
    (Process::start("haproxy", home, command), text)
}

fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .expect("openssl is installed: run tests/run once");
    assert!(made.status.success(), "openssl req: {}", String::from_utf8_lossy(&made.stderr));
    let both = [certificate(folder), fs::read(folder.join("key.pem")).expect("just made")].concat();
    fs::write(folder.join("both.pem"), both).expect("a new file");
}

/// The certificate of every peer, in PEM.
pub(crate) fn certificate(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("cert.pem")).expect("made at the start")
}

/// What is compared: program, version and configuration of each.
pub(crate) fn versions(peers: &[Peer]) -> Vec<(&'static str, String, String)> {
    peers
        .iter()
        .map(|peer| {
            let (program, flag) = match peer.name {
                "nginx" => (Path::new(nginx::program()), "-v"),
                "haproxy" => (Path::new("haproxy"), "-v"),
                _ => (peer.binary.as_path(), "--version"),
            };
            let out = Command::new(program).arg(flag).output();
            let text = out.map_or_else(
                |why| why.to_string(),
                |out| String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
            );
            (peer.name, text.lines().next().unwrap_or_default().to_owned(), peer.configuration.clone())
        })
        .collect()
}
