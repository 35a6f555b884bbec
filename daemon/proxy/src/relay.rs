//! Moves one request and its response between two sockets, with the sender's own bytes.
//!
//! Both directions run at once: a response may begin before the request ended (`100 Continue`, an early refusal), and
//! neither direction is read faster than the other socket takes it. Nothing here knows weights, sides or retries.
//!
//! A captured request is shown to its tap as it is framed, before any byte of it goes out. Once the end of a captured
//! write is in sight (its last byte, or the last-chunk line) nothing more of it goes out until the log has everything.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    buffer::Buffer,
    capture::{Lengths, Lost, Why, side::OnFailure, tap::Recorded},
    class::Class,
    clock,
    count::Failure,
    flights::Flight,
    flow::{Lead, consume},
    guest::{Guest, poll_fill},
    pool::Connection,
    wire::{Body, Refusal, ResponseRewrite, Span, client_head},
    worker::Worker,
};

/// A client that has said it sends nothing more has either left or waits for its last answer; nobody can tell. It is
/// taken to have left when no answer began so long after.
pub(crate) const LEFT_AFTER: Duration = Duration::from_millis(250);

/// What is kept of a request so that it can be sent once more.
#[derive(Default)]
pub(crate) struct Held {
    /// The client's own head, then what of the body was sent.
    pub(crate) bytes: Vec<u8>,
    pub(crate) head_bytes: usize,
    /// Whether the body is kept at all; switched off when it grows too large.
    pub(crate) body_kept: bool,
}

/// The largest request, head and body, that is kept to be sent once more.
const HELD_BYTES_MAX: usize = 64 * 1024;

impl Held {
    fn add(&mut self, sent: &[u8]) {
        if !self.body_kept {
            return;
        }
        if self.bytes.len() + sent.len() > HELD_BYTES_MAX + self.head_bytes {
            self.body_kept = false;
            self.bytes.truncate(self.head_bytes);
        } else {
            self.bytes.extend_from_slice(sent);
        }
    }
}

/// The longest that a write waits for the log. Every record is answered much sooner; this only ends what must not be.
const HELD_MAX: Duration = Duration::from_mins(2);

/// How the request of a relay is captured.
struct Capturing<'a> {
    class: Class,
    recorded: &'a mut Recorded,
    hold: Hold,
    /// Since when the log is what it waits for: to take more of it, or to have all of it.
    since: Option<Instant>,
}

/// What the end of a captured write waits for.
enum Hold {
    /// For the log.
    Log,
    /// For the list of losses, on the disk.
    List(Listing),
}

/// Ready once a loss is on the disk.
type Listing = oneshot::Receiver<Result<(), String>>;

/// How far a relay came.
#[derive(Debug)]
pub(crate) enum Finish {
    /// The response was relayed whole.
    Complete,
    /// 101 was relayed: both sockets speak something else now.
    Tunnel,
    /// The side failed.
    Failed(Failure),
    /// The client left or does not take its answer.
    Left,
    /// The client did not send its whole body: it left, or stopped for too long.
    Incomplete {
        /// Whether it is still there to be told.
        slow: bool,
    },
    /// The client's body is malformed.
    Refused(Refusal),
    /// It is a write that the log did not take, and the policy refuses those.
    Uncaptured,
}

/// One attempt to have a request answered on one connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that happened, and any of them may without the others"
)]
pub(crate) struct Relay<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) guest: &'a mut Guest,
    pub(crate) upstream: &'a mut Connection,
    pub(crate) held: &'a mut Held,
    /// Its place among the requests that wait for a first byte.
    pub(crate) flight: Flight,
    pub(crate) began: Instant,
    /// When bytes moved for the last time.
    pub(crate) moved: Instant,
    /// Whether bytes have moved since, and the clock was not read yet.
    stirred: bool,
    /// Whether nothing more goes upstream: all was sent, or the upstream takes no more.
    pub(crate) upload_over: bool,
    /// When the last request byte was sent.
    pub(crate) sent: Option<Instant>,
    /// When the final response began.
    pub(crate) first_byte: Option<Instant>,
    /// The status of the final response.
    pub(crate) status: u16,
    /// Whether the system took any byte of the request.
    pub(crate) begun: bool,
    /// Whether any byte of a response went to the client.
    pub(crate) relayed: bool,
    /// Whether any byte of a response came.
    pub(crate) heard: bool,
    /// Whether the client's connection ends after the response.
    pub(crate) close: bool,
    unchunk: bool,
    tunnel: bool,
    capture: Option<Capturing<'a>>,
}

impl<'a> Relay<'a> {
    /// A relay of which nothing was sent yet; the head to send is in the guest's request flow.
    pub(crate) fn new(
        worker: &'a Worker,
        guest: &'a mut Guest,
        upstream: &'a mut Connection,
        held: &'a mut Held,
        flight: Flight,
        began: Instant,
        now: Instant,
    ) -> Self {
        Self {
            worker,
            guest,
            upstream,
            held,
            flight,
            began,
            moved: now,
            stirred: false,
            upload_over: false,
            sent: None,
            first_byte: None,
            status: 0,
            begun: false,
            relayed: false,
            heard: false,
            close: false,
            unchunk: false,
            tunnel: false,
            capture: None,
        }
    }

    /// The same, captured: the guest has a tap on this side.
    pub(crate) fn captured(mut self, class: Class, recorded: &'a mut Recorded) -> Self {
        let since = (recorded.waits && recorded.ended).then_some(self.moved);
        if since.is_some() {
            self.worker.flights.waits_since(self.flight, None);
        }
        self.capture = Some(Capturing { class, recorded, hold: Hold::Log, since });
        self
    }

    /// Moves what can be moved. Ready when the exchange is over, one way or the other.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Finish> {
        // Each goes on until it has to wait, and neither waits for the other.
        let stays = self.upload(cx).and_then(|()| self.download(cx)).and_then(|()| self.watch_client(cx));
        if let Err(finish) = stays {
            return Poll::Ready(finish);
        }
        if self.stirred {
            self.moved_now();
        }
        loop {
            let (deadline, finish) = self.deadline();
            if let Some(due) = self.guest.due_under_way().filter(|due| *due < deadline) {
                ready!(self.guest.timer.poll_until(cx, due));
                self.guest.flush_under_way(due);
                continue;
            }
            ready!(self.guest.timer.poll_until(cx, deadline));
            if let (Finish::Uncaptured, Some(tap)) = (&finish, &mut self.guest.taps[self.upstream.side as usize]) {
                tap.over(Why::TimedOut);
            }
            return Poll::Ready(finish);
        }
    }

    /// Lists the request as lost to capture.
    fn list(&self, lost: &Lost, forwarded: bool) -> Listing {
        let tap = self.guest.taps[self.upstream.side as usize].as_ref().expect("a captured request has a tap");
        tap.captured().losses.note(tap.write().loss(lost, forwarded))
    }

    /// Reads the clock, on behalf of all that has moved until now.
    fn moved_now(&mut self) -> Instant {
        self.stirred = false;
        self.moved = clock::now();
        self.moved
    }

    /// Client to upstream.
    fn upload(&mut self, cx: &mut Context<'_>) -> Result<(), Finish> {
        while !self.upload_over {
            self.frame_request()?;
            let waits = self.poll_hold(cx)?;
            let (guest, held) = (&mut *self.guest, &mut *self.held);
            let sent =
                guest.request.poll_send(cx, &mut guest.input, &mut self.upstream.socket, |bytes| held.add(bytes));
            match sent {
                Poll::Ready(Ok(0)) => {
                    if guest.request.is_done() {
                        self.upload_over = true;
                        self.sent = Some(self.moved_now());
                        break;
                    }
                    if waits || !self.has_room(cx) {
                        break;
                    }
                    let guest = &mut *self.guest;
                    match guest.poll_read(cx, &self.worker.buffers) {
                        // The answer came early, and the client does not mean to send the rest.
                        Poll::Ready(Ok(0) | Err(_)) if self.first_byte.is_some() => self.upload_over = true,
                        Poll::Ready(Ok(0) | Err(_)) => return Err(Finish::Incomplete { slow: false }),
                        Poll::Ready(Ok(_)) => self.stirred = true,
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(Ok(count)) => {
                    self.worker.tally.sent(self.upstream.side, count);
                    self.begun = true;
                    self.stirred = true;
                }
                // It takes no more, but may have said why: that is what the client wants to know.
                Poll::Ready(Err(_)) => self.upload_over = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Frames what came from the client, and shows it to the tap.
    fn frame_request(&mut self) -> Result<(), Finish> {
        let Guest { input, reader, request, .. } = &mut *self.guest;
        let from = request.ready;
        let mut last_chunk = None;
        while !request.ended {
            let input = input.as_ref().map_or(&[][..], Buffer::filled);
            let before = request.ready;
            match reader.next(&input[before..]).map_err(Finish::Refused)? {
                Span::More => break,
                Span::End => request.ended = true,
                span => {
                    if let Span::Trailers(count) = span {
                        request.trailer_bytes = count;
                    }
                    request.ready += span.len();
                }
            }
            if last_chunk.is_none() && reader.in_trailers() {
                last_chunk = Some(before);
            }
        }
        if self.capture.is_some() {
            self.show_request(from, last_chunk);
        }
        Ok(())
    }

    /// Shows the tap what was framed of the request behind the first `from` bytes of the buffer, in which the last-chunk line
    /// begins at `last_chunk` if it was framed just now.
    fn show_request(&mut self, from: usize, last_chunk: Option<usize>) {
        let now = if self.stirred { self.moved_now() } else { self.moved };
        let Self { capture: Some(capture), worker, flight, guest, held, upstream, began, .. } = self else { return };
        let Guest { input, reader, request, taps, .. } = &mut **guest;
        let tap = taps[upstream.side as usize].as_mut().expect("a captured request has a tap");
        let bytes = input.as_ref().map_or(&[][..], Buffer::filled);
        if !capture.recorded.begun {
            capture.recorded.begun = true;
            let pieces = [held.bytes.as_slice(), &bytes[..request.ready]];
            let redacted = tap.captured().redacted(pieces, held.head_bytes, request.trailer_bytes);
            tap.begin(*began, capture.class, redacted.as_deref().map_or(pieces, |redacted| [redacted, &[]]));
        } else if request.ready > from {
            let bytes = &bytes[from..request.ready];
            // Trailers are framed whole, and are the last that is.
            let redacted = tap.captured().redacted([bytes, &[]], 0, request.trailer_bytes);
            tap.read(now, redacted.as_deref().unwrap_or(bytes));
        }
        if request.ended && !capture.recorded.ended {
            capture.recorded.ended = true;
            capture.recorded.waits = tap.end(now, Lengths::of(reader.head()));
            capture.since = capture.recorded.waits.then_some(now);
            if capture.recorded.waits {
                // What the log takes is not the side's time.
                worker.flights.waits_since(*flight, None);
            }
            // A client that expects an interim answer gets it while the body waits here.
            let head = reader.head().expect_continue && !matches!(reader.head().body, Body::None | Body::Length(0));
            request.held = capture.recorded.waits.then(|| request.held.unwrap_or(Lead { head, bytes: 0 }));
        } else if let Some(bytes) = last_chunk
            && !request.ended
            && capture.class == Class::Write
        {
            // What is before it goes on, so that there is room for the trailers.
            capture.recorded.waits = true;
            request.held = Some(Lead { head: true, bytes });
        }
    }

    /// Whether the end of the request must still wait for the log.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Result<bool, Finish> {
        let side = self.upstream.side as usize;
        loop {
            let Some(capture) = &mut self.capture else { return Ok(false) };
            if !capture.recorded.waits || !capture.recorded.ended {
                return Ok(false);
            }
            let tap = self.guest.taps[side].as_mut().expect("a captured request has a tap");
            match &mut capture.hold {
                Hold::Log => match tap.poll_safe(cx) {
                    Poll::Pending => return Ok(true),
                    Poll::Ready(Ok(())) => break,
                    // It was, before it had to be sent once more.
                    Poll::Ready(Err(_)) if capture.recorded.listed => break,
                    Poll::Ready(Err(lost)) => {
                        capture.recorded.listed = true;
                        let forwarded = tap.captured().on_failure == OnFailure::Forward;
                        // What never was in the log and never reached the cluster is no loss to anybody but the client,
                        // who was told.
                        let listing = (forwarded || lost.perhaps_there).then(|| self.list(&lost, forwarded));
                        match (listing, &mut self.capture) {
                            (Some(listing), Some(capture)) if forwarded => capture.hold = Hold::List(listing),
                            _ => return Err(Finish::Uncaptured),
                        }
                    }
                },
                // A list that cannot be written says so itself, and the loss is counted all the same.
                Hold::List(listing) => match Pin::new(listing).poll(cx) {
                    Poll::Pending => return Ok(true),
                    Poll::Ready(_) => break,
                },
            }
        }
        if let Some(capture) = &mut self.capture {
            capture.recorded.waits = false;
            capture.since = None;
        }
        self.guest.request.held = None;
        // The time that the upstream has begins now.
        let now = self.moved_now();
        self.worker.flights.waits_since(self.flight, Some(now));
        Ok(false)
    }

    /// Whether more of the request may be read: its capture does not lag behind.
    fn has_room(&mut self, cx: &Context<'_>) -> bool {
        let Some(capture) = &mut self.capture else { return true };
        let tap = self.guest.taps[self.upstream.side as usize].as_mut();
        let room = tap.is_none_or(|tap| tap.poll_room(cx).is_ready());
        capture.since = if room { None } else { capture.since.or(Some(self.moved)) };
        room
    }

    /// Upstream to client.
    fn download(&mut self, cx: &mut Context<'_>) -> Result<(), Finish> {
        loop {
            self.frame_response()?;
            let guest = &mut *self.guest;
            match guest.response.poll_send(cx, &mut self.upstream.input, &mut guest.socket, |_| ()) {
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(_)) => {
                    self.relayed = true;
                    self.stirred = true;
                    continue;
                }
                Poll::Ready(Err(_)) => return Err(Finish::Left),
                Poll::Pending => return Ok(()),
            }
            if guest.response.ended {
                return Err(Finish::Complete);
            }
            if self.tunnel {
                return Err(Finish::Tunnel);
            }
            match poll_fill(&mut self.upstream.socket, &mut self.upstream.input, &self.worker.buffers, cx) {
                Poll::Ready(Ok(0)) => match self.upstream.reader.end_of_input() {
                    Ok(_) if self.heard => guest.response.ended = true,
                    _ => return Err(Finish::Failed(Failure::Reset)),
                },
                Poll::Ready(Ok(count)) => {
                    self.worker.tally.received(self.upstream.side, count);
                    self.heard = true;
                    self.stirred = true;
                }
                Poll::Ready(Err(_)) => return Err(Finish::Failed(Failure::Reset)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Frames what came from the upstream: heads are made anew, what follows goes as it came.
    fn frame_response(&mut self) -> Result<(), Finish> {
        let before = self.guest.response.ready;
        let mut head_from = None;
        while !self.guest.response.ended && !self.tunnel {
            let ready = self.guest.response.ready;
            if self.unchunk && ready > 0 {
                break;
            }
            let input = self.upstream.input.as_ref().map_or(&[][..], Buffer::filled);
            let span = self.upstream.reader.next(&input[ready..]).map_err(|refusal| {
                tracing::debug!(%refusal, "an upstream's response is not HTTP");
                Finish::Failed(Failure::Protocol)
            })?;
            match span {
                Span::More => break,
                Span::End => self.guest.response.ended = true,
                Span::Head(count) => {
                    let head_bytes = self.guest.response.head.len();
                    self.response_head(count);
                    head_from = Some(head_bytes);
                }
                Span::Skip(count) => consume(&mut self.upstream.input, count),
                Span::ChunkLine(count) | Span::ChunkEnd(count) | Span::Trailers(count) if self.unchunk => {
                    consume(&mut self.upstream.input, count);
                }
                span => {
                    if let Span::Trailers(count) = span {
                        self.guest.response.trailer_bytes = count;
                    }
                    self.guest.response.ready += span.len();
                }
            }
        }
        if self.capture.is_some() && self.first_byte.is_some() {
            self.show_response(before, head_from);
        }
        Ok(())
    }

    /// Shows the tap what goes to the client of the final response: its head as we made it, and what was framed behind the
    /// first `before` bytes of the buffer.
    fn show_response(&mut self, before: usize, head_from: Option<usize>) {
        let now = if self.stirred { self.moved_now() } else { self.moved };
        let (response, upstream) = (&self.guest.response, &*self.upstream);
        let tap = self.guest.taps[upstream.side as usize].as_mut().expect("a captured request has a tap");
        let head = head_from.map_or(&[][..], |from| &response.head[from..]);
        let body = upstream.input.as_ref().map_or(&[][..], |input| &input.filled()[before..response.ready]);
        if self.tunnel {
            if head_from.is_some() {
                tap.upgraded();
            }
        } else if !(head.is_empty() && body.is_empty()) {
            let redacted = tap.captured().redacted([head, body], head.len(), response.trailer_bytes);
            tap.respond(now, redacted.as_deref().map_or([head, body], |redacted| [redacted, &[]]));
        }
    }

    fn response_head(&mut self, count: usize) {
        let now = self.moved_now();
        let head = self.upstream.reader.head();
        let bytes = &self.upstream.input.as_ref().expect("a head was framed in it").filled()[..count];
        if !head.interim() {
            self.first_byte = Some(now);
            self.status = head.status;
            self.worker.flights.land(self.flight);
            self.close = !self.guest.reader.head().keep_alive
                || !self.guest.request.ended
                || self.guest.request.held.is_some()
                || self.worker.draining.get()
                || self.worker.state.closes(now);
            // An answer that comes before the end of a captured write drops it from the record, so its end, which would
            // make it count, may not follow.
            if let Some(capture) = &self.capture
                && capture.class == Class::Write
                && !self.guest.request.ended
            {
                self.upload_over = true;
            }
        }
        let how = ResponseRewrite { request: self.guest.reader.head(), close: self.close };
        let body = client_head(bytes, head, &how, &mut self.guest.response.head);
        if !head.interim() {
            self.close |= body.close;
            self.unchunk = body.unchunk;
            self.tunnel = head.tunnel;
            // Without a length of its own the response ends with the connection, so a cut must not look like an end.
            self.guest.must_break = body.unchunk || head.body == Body::UntilClose;
        }
        consume(&mut self.upstream.input, count);
    }

    /// While the answer is awaited: has the client left? What it sends meanwhile is kept, up to a buffer.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Finish> {
        if !self.guest.request.ended || !self.upload_over || self.guest.left.is_some() {
            return Ok(());
        }
        loop {
            match self.guest.poll_read(cx, &self.worker.buffers) {
                Poll::Ready(Ok(0)) | Poll::Pending => return Ok(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Finish::Left),
            }
        }
    }

    /// When it is over at the latest if nothing moves, and whose fault it is then.
    fn deadline(&self) -> (Instant, Finish) {
        let timeouts = &self.worker.state.config.timeouts;
        let stalled = self.moved + timeouts.stall;
        let lags = self.capture.as_ref().and_then(|capture| capture.since).filter(|_| self.first_byte.is_none());
        let (mut deadline, mut finish) = if let Some(since) = lags {
            (since + HELD_MAX, Finish::Uncaptured)
        } else if !self.guest.response.is_empty() {
            (stalled, Finish::Left)
        } else if self.first_byte.is_some() {
            (stalled, Finish::Failed(Failure::Timeout))
        } else if let Some(sent) = self.sent {
            (sent.max(self.moved) + timeouts.first_byte, Finish::Failed(Failure::Timeout))
        } else if self.upload_over || !self.guest.request.is_sent() {
            (stalled, Finish::Failed(Failure::Timeout))
        } else {
            (stalled, Finish::Incomplete { slow: true })
        };
        if let Some(total) = timeouts.total
            && self.began + total < deadline
        {
            deadline = self.began + total;
            if !matches!(finish, Finish::Incomplete { .. } | Finish::Uncaptured) {
                finish = Finish::Failed(Failure::Timeout);
            }
        }
        if let Some(left) = self.guest.left
            && self.first_byte.is_none()
            // What the log may have shall reach the upstream, whoever is still there to hear of it.
            && lags.is_none()
        {
            let given_up = left.max(self.began).max(self.sent.unwrap_or(self.began)) + LEFT_AFTER;
            if given_up < deadline {
                (deadline, finish) = (given_up, Finish::Left);
            }
        }
        (deadline, finish)
    }
}
