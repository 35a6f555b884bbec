//! A cluster that only remembers what it was told to store: each whole `PUT /docs/_create/ID`.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// See the module. Its threads end with their connections, and with the process.
pub(super) struct Cluster {
    pub(super) port: u16,
    stored: Arc<Mutex<BTreeSet<String>>>,
}

impl Cluster {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let stored = Arc::<Mutex<BTreeSet<String>>>::default();
        let theirs = Arc::clone(&stored);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stored = Arc::clone(&theirs);
                std::thread::spawn(move || serve(stream, &stored));
            }
        });
        Self { port, stored }
    }

    /// The ids of what it has.
    pub(super) fn stored(&self) -> BTreeSet<String> {
        self.stored.lock().expect("nobody panics while holding it").clone()
    }
}

fn serve(mut stream: TcpStream, stored: &Mutex<BTreeSet<String>>) {
    let (mut input, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count) = stream.read(&mut piece) {
        if count == 0 {
            return;
        }
        input.extend_from_slice(&piece[..count]);
        while let Some((request, length)) = whole(&input) {
            input.drain(..length);
            let answer = match request.strip_prefix("PUT /docs/_create/").and_then(|rest| rest.split(' ').next()) {
                Some(id) => {
                    let is_new = stored.lock().expect("nobody panics while holding it").insert(id.to_owned());
                    assert!(is_new, "{id} came twice");
                    "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
                }
                None => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The first line of the request at the front and how many bytes it has, if it is whole.
fn whole(input: &[u8]) -> Option<(String, usize)> {
    let head = input.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&input[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let bytes = head + length.unwrap_or(0);
    (input.len() >= bytes).then(|| (text.lines().next().unwrap_or_default().to_owned(), bytes))
}
