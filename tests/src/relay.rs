//! A road between a program and a server, which a test makes bad: slow, silent, cut. It can remember what passed.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use crate::clock;

/// How often a thread looks whether the road has changed.
const LOOK: Duration = Duration::from_millis(10);

/// How it goes on the road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// Bytes pass at once.
    Open,
    /// Each piece takes so long, either way.
    Slow(Duration),
    /// Connections stand, and nothing passes.
    Silent,
    /// Connections are reset, and new ones too.
    Cut,
}

/// What passed on one connection.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// From the client.
    pub sent: Vec<u8>,
    /// To the client.
    pub received: Vec<u8>,
    /// How many bytes the client had sent by when.
    pub moments: Vec<(usize, Instant)>,
}

struct Shared {
    road: Mutex<Road>,
    to: u16,
    /// What passed, where that is kept.
    passed: Option<Mutex<Vec<Passed>>>,
}

/// See the module. Its threads end with their connections, and with the process.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Relay {
    /// A road to a port of this machine, from `port` on.
    ///
    /// # Panics
    /// If nobody can listen there.
    pub fn start(port: u16, to: u16) -> Self {
        Self::with(port, to, None)
    }

    /// One that remembers what passes.
    ///
    /// # Panics
    /// As [`Relay::start`].
    pub fn remembering(port: u16, to: u16) -> Self {
        Self::with(port, to, Some(Mutex::default()))
    }

    fn with(port: u16, to: u16, passed: Option<Mutex<Vec<Passed>>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let shared = Arc::new(Shared { road: Mutex::new(Road::Open), to, passed });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                theirs.welcome(&client);
            }
        });
        Self { shared, port }
    }

    /// From now on it goes so, on every connection.
    pub fn set(&self, road: Road) {
        *self.shared.road() = road;
    }

    /// What passed until now, by connection.
    pub fn passed(&self) -> Vec<Passed> {
        self.shared.passed.as_ref().map_or_else(Vec::new, |passed| lock(passed).clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

impl Shared {
    fn road(&self) -> MutexGuard<'_, Road> {
        lock(&self.road)
    }

    fn welcome(self: &Arc<Self>, client: &TcpStream) {
        if *self.road() == Road::Cut {
            return reset(client);
        }
        // A server that is gone is one that refuses.
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.to)) else { return reset(client) };
        let place = self.passed.as_ref().map(|passed| {
            let mut passed = lock(passed);
            passed.push(Passed::default());
            passed.len() - 1
        });
        for (way, from, to) in [(Way::Out, client, &server), (Way::Back, &server, client)] {
            let both = (from.try_clone(), to.try_clone());
            let (Ok(from), Ok(to)) = both else { return };
            let shared = Arc::clone(self);
            thread::spawn(move || shared.carry(from, to, way, place));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: Way, place: Option<usize>) {
        let ready = from.set_read_timeout(Some(LOOK)).and_then(|()| to.set_nodelay(true));
        ready.expect("a socket takes its settings");
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = match from.read(&mut piece) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    if *self.road() == Road::Cut {
                        break;
                    }
                    continue;
                }
                Err(_) => break,
            };
            let came = clock::now();
            loop {
                match *self.road() {
                    Road::Open => break,
                    Road::Slow(time) if came.elapsed() >= time => break,
                    Road::Slow(_) | Road::Silent => {}
                    Road::Cut => return hang_up(&from, &to),
                }
                thread::sleep(LOOK);
            }
            if count == 0 {
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            if let (Some(passed), Some(place)) = (&self.passed, place) {
                let passed = &mut lock(passed)[place];
                match way {
                    Way::Out => {
                        passed.sent.extend_from_slice(&piece[..count]);
                        passed.moments.push((passed.sent.len(), came));
                    }
                    Way::Back => passed.received.extend_from_slice(&piece[..count]),
                }
            }
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        hang_up(&from, &to);
    }
}

#[derive(Clone, Copy)]
enum Way {
    Out,
    Back,
}

fn hang_up(from: &TcpStream, to: &TcpStream) {
    reset(from);
    reset(to);
}

fn reset(stream: &TcpStream) {
    // Whoever is gone already hears nothing of it.
    drop(stream.shutdown(Shutdown::Both));
}
