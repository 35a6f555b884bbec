//! A real Prometheus server with a folder and a port of its own.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use super::{Process, free_port};

/// How long it may take to listen; builds may run beside it.
const START_MAX: Duration = Duration::from_secs(30);

/// How often it scrapes, in seconds.
pub const SCRAPED_EVERY: u64 = 1;

/// Something that is scraped.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its port on 127.0.0.1; it is asked for `/metrics`.
    pub port: u16,
    /// The bearer token that it wants, if any.
    pub token: Option<&'a str>,
}

/// A running server.
#[derive(Debug)]
pub struct Prometheus {
    /// The program.
    pub process: Process,
    /// Where it answers on 127.0.0.1.
    pub port: u16,
}

impl Prometheus {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Starts a server that scrapes `jobs` each second, with its data in `folder`.
///
/// # Panics
/// If Prometheus is not installed or does not start.
pub fn start(folder: &Path, jobs: &[Job<'_>]) -> Prometheus {
    configure(folder, jobs);
    let mut server = again(folder, free_port());
    // It looks for what to scrape each five seconds.
    let port = server.port;
    let all = format!(",\"{}\"]", jobs.len());
    server.process.wait_until("scrape of each job", START_MAX, |_| scraped(port).is_ok_and(|said| said.contains(&all)));
    server
}

/// The same with `web` as its web configuration, such as a certificate and passwords: so nobody looks here whether it has
/// scraped yet. Paths in it are relative to `folder`.
///
/// # Panics
/// As [`start`].
pub fn guarded(folder: &Path, jobs: &[Job<'_>], web: &str) -> Prometheus {
    configure(folder, jobs);
    let file = folder.join("web.yml");
    fs::write(&file, web).expect("a file in the caller's folder");
    run(folder, free_port(), Some(&file))
}

fn configure(folder: &Path, jobs: &[Job<'_>]) {
    let mut text =
        format!("global:\n  scrape_interval: {SCRAPED_EVERY}s\n  scrape_timeout: {SCRAPED_EVERY}s\nscrape_configs:\n");
    for Job { name, port, token } in jobs {
        write!(
            text,
            "- job_name: {name}\n  honor_timestamps: true\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
        )
        .expect("a String takes everything");
        if let Some(token) = token {
            write!(text, "  authorization:\n    credentials: {token}\n").expect("a String takes everything");
        }
    }
    fs::write(folder.join("prometheus.yml"), text).expect("a file in the caller's folder");
}

/// How many jobs were scraped, as it says it.
fn scraped(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /api/v1/query?query=count(up==1) HTTP/1.0\r\nHost: x\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Starts it anew on the data and with the configuration that it had.
///
/// # Panics
/// As [`start`].
pub fn again(folder: &Path, port: u16) -> Prometheus {
    run(folder, port, None)
}

fn run(folder: &Path, port: u16, web: Option<&Path>) -> Prometheus {
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=info")
        .current_dir(folder);
    if let Some(file) = web {
        command.arg(format!("--web.config.file={}", file.display()));
    }
    let mut process = Process::start("prometheus", folder, command);
    process.wait_for_line("Server is ready to receive web requests", START_MAX);
    Prometheus { process, port }
}
