//! A resolver that knows two names: that of a load balancer, and that of the clients, which is led from elsewhere to it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const HERE: [u8; 4] = [10, 0, 1, 20];
const ELSEWHERE: [u8; 4] = [192, 0, 2, 7];

/// The record type of addresses.
const A: u8 = 1;

pub(super) struct Resolver {
    address: SocketAddr,
    here: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The answer to a question; both names' answers may be kept for `ttl` seconds.
fn answer(question: &[u8], known: &str, here: bool, ttl: u16) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 5;
    let mut name = String::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        name.push_str(&String::from_utf8_lossy(&question[at + 1..at + 1 + length]));
        name.push('.');
        at += 1 + length;
    }
    let of_balancer = name.trim_end_matches('.').eq_ignore_ascii_case(known);
    let address = if of_balancer || here { HERE } else { ELSEWHERE };
    let mut bytes = question[..end].to_vec();
    (bytes[2], bytes[3]) = (0x81, 0x80);
    if question[end - 3] == A {
        bytes[7] = 1;
        let [high, low] = ttl.to_be_bytes();
        bytes.extend([0xc0, 12, 0, A, 0, 1, 0, 0, high, low, 0, 4]);
        bytes.extend(address);
    }
    bytes
}

impl Resolver {
    /// Starts one on loopback that knows the load balancer's name.
    pub(super) fn start(balancer: &str, ttl: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the kernel's choice");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
        let address = socket.local_addr().expect("it is bound");
        let (here, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (balancer, led, stopped) = (balancer.to_owned(), Arc::clone(&here), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let told = answer(&bytes[..length], &balancer, led.load(Ordering::Relaxed), ttl);
                    socket.send_to(&told, from).expect("loopback takes it");
                }
            }
        });
        Self { address, here, stop, thread: Some(thread) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads the clients' name to the load balancer.
    pub(super) fn lead_here(&self) {
        self.here.store(true, Ordering::Relaxed);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
