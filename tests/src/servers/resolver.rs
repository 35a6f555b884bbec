//! A resolver on loopback that knows one name, whose addresses change when a test says so. What is too long for a datagram is
//! cut off there and answered whole over TCP, as resolvers do.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// The record type of IPv4 addresses.
const A: u8 = 1;

/// The longest answer in a datagram (RFC 1035 4.2.1).
const DATAGRAM_MAX: usize = 512;

/// How long a serving thread sleeps at most before it looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);

/// What is said of the name.
#[derive(Clone)]
enum Said {
    /// It stands for these; none is an answer without any.
    Addresses(Vec<Ipv4Addr>),
    /// The resolver fails.
    Failure,
    /// No answer to a datagram, as where something on the way drops them.
    Nothing,
}

/// A running resolver; it ends when it is dropped.
pub struct Resolver {
    address: SocketAddr,
    said: Arc<Mutex<Said>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// The name in a question, and where the question ends.
fn asked(question: &[u8]) -> (String, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        name.push_str(&String::from_utf8_lossy(&question[at + 1..=at + length]));
        name.push('.');
        at += 1 + length;
    }
    (name.trim_end_matches('.').to_owned(), at + 5)
}

fn answer(question: &[u8], known: &str, said: &Said, datagram: bool) -> Vec<u8> {
    let (name, end) = asked(question);
    let mut bytes = question[..end].to_vec();
    (bytes[2], bytes[3]) = (0x81, 0x80);
    let addresses = match said {
        Said::Failure | Said::Nothing => {
            bytes[3] |= 2;
            return bytes;
        }
        Said::Addresses(_) if !name.eq_ignore_ascii_case(known) => {
            bytes[3] |= 3;
            return bytes;
        }
        Said::Addresses(addresses) if question[end - 3] == A => addresses.as_slice(),
        Said::Addresses(_) => &[],
    };
    if datagram && end + addresses.len() * 16 > DATAGRAM_MAX {
        bytes[2] |= 2;
        return bytes;
    }
    let count = u16::try_from(addresses.len()).expect("no test has so many");
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    for address in addresses {
        bytes.extend([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 1, 0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}

impl Resolver {
    /// Starts one that knows `name`, which stands for nobody yet.
    ///
    /// # Panics
    /// If loopback gives no port.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the kernel's choice");
        let address = listener.local_addr().expect("it is bound");
        let socket = UdpSocket::bind(address).expect("the same port is free for datagrams");
        socket.set_read_timeout(Some(LOOK)).expect("a socket takes a time-out");
        listener.set_nonblocking(true).expect("a socket can be asked not to block");
        let said = Arc::new(Mutex::new(Said::Addresses(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let now = |said: &Mutex<Said>| said.lock().expect("nobody panics while holding it").clone();
        let (known, shared, stopped) = (name.to_owned(), Arc::clone(&said), Arc::clone(&stop));
        let datagrams = std::thread::spawn(move || {
            let mut bytes = [0; DATAGRAM_MAX];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let said = now(&shared);
                    if matches!(said, Said::Nothing) {
                        continue;
                    }
                    let told = answer(&bytes[..length], &known, &said, true);
                    socket.send_to(&told, from).expect("loopback takes it");
                }
            }
        });
        let (known, shared, stopped) = (name.to_owned(), Arc::clone(&said), Arc::clone(&stop));
        let streams = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                stream.set_nonblocking(false).expect("a socket can be asked to block");
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a question has a length");
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).expect("the whole question comes");
                let told = answer(&question, &known, &now(&shared), false);
                let length = u16::try_from(told.len()).expect("no test has so many");
                stream.write_all(&[&length.to_be_bytes()[..], &told].concat()).expect("the asker reads");
            }
        });
        Self { address, said, stop, threads: vec![datagrams, streams] }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name stands for these addresses from now on.
    ///
    /// # Panics
    /// If a serving thread did.
    pub fn stand_for(&self, addresses: &[Ipv4Addr]) {
        *self.said.lock().expect("nobody panics while holding it") = Said::Addresses(addresses.to_vec());
    }

    /// It fails from now on.
    ///
    /// # Panics
    /// If a serving thread did.
    pub fn fail(&self) {
        *self.said.lock().expect("nobody panics while holding it") = Said::Failure;
    }

    /// It does not answer from now on.
    ///
    /// # Panics
    /// If a serving thread did.
    pub fn fall_silent(&self) {
        *self.said.lock().expect("nobody panics while holding it") = Said::Nothing;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}
