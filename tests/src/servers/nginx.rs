//! nginx as an upstream: a side that says who it is, takes bodies whole and can be told to fail.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use super::{Process, free_port};

/// How long nginx may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// The program; one worker.
    pub process: Process,
    /// Its ports on 127.0.0.1, one for each server asked for.
    pub ports: Vec<u16>,
}

/// Starts nginx with one server for each name, all in one worker.
///
/// Each answers with `X-Side: NAME`: `/1k` and `/64k` with as many bytes, any other path with a few. A request body is read
/// whole before the answer, whatever the method. `/status/500` answers with that status.
///
/// # Panics
/// If nginx is not installed or does not start.
pub fn upstreams(folder: &Path, names: &[&str]) -> Nginx {
    let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
    start(folder, names, ports)
}

/// As [`upstreams`], on given ports: a side that comes back where it was.
///
/// # Panics
/// As [`upstreams`].
pub fn start(folder: &Path, names: &[&str], ports: Vec<u16>) -> Nginx {
    let pages = folder.join("pages");
    fs::create_dir_all(&pages).expect("a folder of the caller's");
    for (page, bytes) in [("1k", 1024), ("64k", 65_536), ("small", 32)] {
        fs::write(pages.join(page), "x".repeat(bytes - 1) + "\n").expect("a new file");
    }
    let mut servers = String::new();
    for (name, port) in names.iter().zip(&ports) {
        write!(servers, "{}", server(name, *port)).expect("a String takes everything");
    }
    let text = format!(
        "worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_buffer_size 128k;
  client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  root {pages};
{servers}}}
",
        pages = pages.display(),
    );
    run(folder, "nginx", &text, ports)
}

/// A server whose bodies are read whole: `mirror` reads the request's body before the content phase, which `return` would
/// not wait for; a static file refuses POST with 405, which becomes the file itself.
fn server(name: &str, port: u16) -> String {
    format!(
        "  server {{
    listen 127.0.0.1:{port} backlog=4096 reuseport;
    add_header X-Side {name} always;
    location = /null {{ internal; return 204; }}
    location ~ ^/status/(5\\d\\d)$ {{ return 500; }}
    location / {{
      mirror /null;
      error_page 405 =200 $uri;
      try_files $uri /small =404;
    }}
  }}
"
    )
}

/// Starts nginx with a whole configuration; paths in it are relative to `folder`.
///
/// # Panics
/// As [`upstreams`].
pub fn run(folder: &Path, name: &str, configuration: &str, ports: Vec<u16>) -> Nginx {
    let file = folder.join(format!("{name}.conf"));
    fs::write(&file, configuration).expect("a new file in the caller's folder");
    let mut command = Command::new(program());
    command.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    let mut process = Process::start(name, folder, command);
    for port in &ports {
        process.wait_for_port(*port, START_MAX);
    }
    Nginx { process, ports }
}

/// Debian keeps it where an ordinary user's search path does not look.
pub fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}
