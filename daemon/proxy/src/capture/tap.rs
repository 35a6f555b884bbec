//! The tap: ties the streams of one serving thread to the capture log.
//!
//! A [`Desk`] is a thread's place of work for one side: its outlet, and a slot for each connection that waits for
//! answers. A [`Tap`] is one client connection on that side. The relay shows it what passes and asks it two things: may
//! more of a write be read ([`Tap::poll_room`]), and is everything of it safe ([`Tap::poll_safe`]). What is done when it is
//! not, is the relay's.
//!
//! Nothing here waits but on behalf of a write. A read's records are given away when their chunk is full, when the
//! connection has been idle for [`FLUSH_AFTER`], and at its end.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    Ending, Entry, Lengths, Lost, Outcome, Outlet, Pieces, Record, Recorder, Refused, Returned, Stream, Timestamp,
    Verdict, Why,
    loss::Loss,
    released::{Released, Write},
    side::Captured,
};
use crate::{class::Class, clock};

/// How long what was observed may stay with us before it is given away: well below the second in which the last record
/// of a closed connection is promised.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// The same while an exchange is under way: a response that is long in coming is seen, and a search of half a second costs
/// no record more.
const FLUSH_UNDER_WAY_AFTER: Duration = Duration::from_secs(1);

/// How much of one connection's write may be under way before no more of it is read, in bytes: so that one large bulk
/// request does not spend the budget of all.
const UNDER_WAY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One thread's place of work for the capture of one side.
pub(crate) struct Desk {
    pub(crate) captured: Captured,
    outlet: RefCell<Outlet>,
    recorder: Recorder,
    slots: RefCell<Slots>,
    /// A moment on the clock of durations, and the same on the wall clock.
    anchor: Cell<(Instant, Duration)>,
    /// Records between a stream and the outlet.
    sealed: RefCell<Vec<Record>>,
    outcomes: RefCell<Vec<Outcome>>,
    released: RefCell<Released>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

/// What one connection waits for.
#[derive(Default)]
struct Slot {
    /// Which name of the connection the records under way belong to; answers for an earlier one mean nothing.
    epoch: u32,
    /// The sizes of the records under way, in the order in which they are answered.
    under_way: VecDeque<u32>,
    under_way_bytes: usize,
    lost: Option<Lost>,
    waker: Option<Waker>,
}

impl Slot {
    fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.lost = None;
        self.waker = None;
    }
}

const fn tag(slot: usize, epoch: u32) -> u64 {
    (slot as u64) << 32 | epoch as u64
}

impl Desk {
    /// A desk for one thread.
    pub(crate) fn new(captured: Captured, recorder: Recorder) -> Self {
        let outlet = RefCell::new(captured.log.outlet(recorder.buffers.clone()));
        Self {
            captured,
            outlet,
            recorder,
            slots: RefCell::default(),
            anchor: Cell::new((clock::now(), clock::since_epoch())),
            sealed: RefCell::default(),
            outcomes: RefCell::default(),
            released: RefCell::default(),
        }
    }

    /// Reads the wall clock, which may have been set; often enough that no record is far off. And lists what the log turns
    /// out to have lost.
    pub(crate) fn tick(&self) {
        self.anchor.set((clock::now(), clock::since_epoch()));
        let outlet = self.outlet.borrow();
        let Some(sound_until) = outlet.sound_until() else { return };
        let (gone, losses) = (self.released.borrow_mut().gone(outlet.life(), sound_until), &self.captured.losses);
        for write in gone {
            drop(losses.note(write.loss(&Lost::perhaps(Why::TopicReplaced, "its topic is gone"), true)));
        }
        if let Some(records) = outlet.vanished() {
            drop(losses.note(Loss::of_log(Why::TopicReplaced, records)));
        }
    }

    /// Delivers answers to the connections that wait for them, until there are none.
    pub(crate) fn poll(&self, cx: &Context<'_>) {
        let mut outcomes = self.outcomes.borrow_mut();
        // Bounded by what the budget lets be under way.
        while self.outlet.borrow_mut().poll_outcomes(cx, clock::now(), &mut outcomes).is_ready() {
            let mut slots = self.slots.borrow_mut();
            for outcome in outcomes.drain(..) {
                let slot = &mut slots.slots[(outcome.tag >> 32) as usize];
                if slot.epoch != outcome.tag as u32 {
                    continue;
                }
                match outcome.verdict {
                    Verdict::Safe => {
                        let bytes = slot.under_way.pop_front().expect("only what is under way is answered");
                        slot.under_way_bytes -= bytes as usize;
                    }
                    Verdict::Lost(lost) => match &mut slot.lost {
                        // Why it began counts, and whether the log may have the last of them.
                        Some(first) => first.perhaps_there = lost.perhaps_there,
                        none => *none = Some(lost),
                    },
                }
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Whether every record has its answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.outlet.borrow().is_idle()
    }

    /// Has the log looked at soon where writes went out on its word and nobody has looked since; answers how many.
    pub(crate) fn doubt(&self) -> usize {
        let kept = self.released.borrow().kept();
        if kept > 0 {
            self.outlet.borrow().hurry();
        }
        kept
    }

    /// Whether the log is known to fail, so that it would refuse a record.
    pub(crate) fn is_open(&self) -> bool {
        self.outlet.borrow().is_open(clock::now())
    }

    fn wall(&self, at: Instant) -> Timestamp {
        let (anchor, wall) = self.anchor.get();
        Timestamp::since_epoch(match at.checked_duration_since(anchor) {
            Some(later) => wall + later,
            None => wall.saturating_sub(anchor - at),
        })
    }
}

/// How far the capture of one request is. It outlives an attempt that is made once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that happened, and any of them may without the others"
)]
pub(crate) struct Recorded {
    /// Whether its first bytes were shown.
    pub(crate) begun: bool,
    /// Whether its end was shown.
    pub(crate) ended: bool,
    /// Whether its end is in sight and must not go out before everything of it is safe.
    pub(crate) waits: bool,
    /// Whether it was lost and that was dealt with.
    pub(crate) listed: bool,
}

/// One client connection on one side.
pub(crate) struct Tap {
    desk: Rc<Desk>,
    stream: Stream,
    slot: usize,
    epoch: u32,
    key: Arc<str>,
    /// The life of the log in which the stream began.
    life: u64,
    /// What the log had no room for yet; only ever of a write that is being read.
    parked: VecDeque<Entry>,
    /// Since when something is kept here that the log was not given.
    kept_since: Option<Instant>,
    /// Whether a write is being read.
    writing: bool,
    /// Whether the end of a write was recorded and is held back.
    held: bool,
    /// The number of the request under way in its connection, from 0, and the bytes of it that were shown.
    number: u32,
    bytes: u64,
    /// Method and target of the write under way.
    line: Vec<u8>,
}

/// How much of a write's method and target is kept, in bytes: what a list of losses has room for.
const LINE_BYTES_MAX: usize = 4 * 1024 + 64;

/// What of it may stay between requests, in bytes.
const LINE_BYTES_KEPT: usize = 256;

impl Tap {
    /// The tap of a connection of which something goes to the side for the first time.
    pub(crate) fn new(desk: &Rc<Desk>, now: Instant) -> Box<Self> {
        let stream = Stream::new(&desk.recorder, desk.wall(now));
        let mut slots = desk.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(Slot::default());
            slots.slots.len() - 1
        });
        let epoch = slots.slots[slot].epoch;
        drop(slots);
        Box::new(Self {
            key: Arc::from(stream.connection().as_str()),
            life: desk.outlet.borrow().life(),
            desk: Rc::clone(desk),
            stream,
            slot,
            epoch,
            parked: VecDeque::new(),
            kept_since: None,
            writing: false,
            held: false,
            number: 0,
            bytes: 0,
            line: Vec::new(),
        })
    }

    /// How the side is captured.
    pub(crate) fn captured(&self) -> &Captured {
        &self.desk.captured
    }

    /// The write under way, as a list of losses names it.
    pub(crate) fn write(&self) -> Write {
        Write {
            at_millis: clock::unix_millis(),
            key: Arc::clone(&self.key),
            number: self.number,
            bytes: self.bytes,
            line: self.line.as_slice().into(),
        }
    }

    /// The request is over for us. Where the end of a write was held back until now, the log may have it whole, or get it
    /// yet, and no cluster does: a replay would send what never was, so it is listed.
    pub(crate) fn over(&mut self, why: Why) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        let lost = self.desk.slots.borrow().slots[self.slot].lost.clone();
        let lost = lost.unwrap_or_else(|| Lost::perhaps(why, "it was given up before the log answered"));
        if lost.perhaps_there {
            drop(self.desk.captured.losses.note(self.write().loss(&lost, false)));
        }
    }

    fn with(&mut self, now: Instant, show: impl FnOnce(&mut Stream, &Recorder, Timestamp, &mut Vec<Record>)) {
        let desk = Rc::clone(&self.desk);
        let mut sealed = desk.sealed.borrow_mut();
        show(&mut self.stream, &desk.recorder, desk.wall(now), &mut sealed);
        for record in sealed.drain(..) {
            self.give(record, now);
        }
        let keeps = self.stream.held_bytes() > 0;
        self.kept_since = if keeps { self.kept_since.or(Some(now)) } else { None };
    }

    fn give(&mut self, record: Record, now: Instant) {
        let value = record.into_bytes();
        if self.is_lost() {
            self.desk.recorder.buffers.keep(value);
            return;
        }
        let entry = Entry { key: Arc::clone(&self.key), life: self.life, value, tag: tag(self.slot, self.epoch) };
        if self.parked.is_empty() {
            self.send(entry, now);
        } else {
            self.parked.push_back(entry);
        }
    }

    fn send(&mut self, entry: Entry, now: Instant) {
        let bytes = entry.value.len();
        let sent = self.desk.outlet.borrow_mut().send(entry, now);
        match sent {
            Ok(()) => {
                let mut slots = self.desk.slots.borrow_mut();
                let slot = &mut slots.slots[self.slot];
                slot.under_way.push_back(bytes as u32);
                slot.under_way_bytes += bytes;
            }
            Err(Returned { why: Refused::BudgetSpent, entry }) if self.writing => self.parked.push_front(entry),
            Err(Returned { why, entry }) => {
                self.desk.recorder.buffers.keep(entry.value);
                let kind = match why {
                    Refused::BreakerOpen => Why::BreakerOpen,
                    Refused::BudgetSpent => Why::BudgetSpent,
                    Refused::Broken => Why::Follows,
                    Refused::Ending => Why::Ending,
                    Refused::TooLarge => Why::Unfit,
                };
                self.desk.slots.borrow_mut().slots[self.slot].lost = Some(Lost::new(kind, why.to_string()));
                self.break_off();
            }
        }
    }

    /// Ends the stream where it is, since something of it is lost.
    fn break_off(&mut self) {
        self.stream.lost();
        self.kept_since = None;
        for entry in self.parked.drain(..) {
            self.desk.recorder.buffers.keep(entry.value);
        }
    }

    fn is_lost(&self) -> bool {
        self.desk.slots.borrow().slots[self.slot].lost.is_some()
    }

    /// A request begins, with its head and what of its body came with it.
    pub(crate) fn begin(&mut self, now: Instant, class: Class, pieces: Pieces<'_>) {
        if self.is_lost() || self.life != self.desk.outlet.borrow().life() {
            self.break_off();
        }
        let before = *self.stream.connection();
        let desk = Rc::clone(&self.desk);
        let mut sealed = desk.sealed.borrow_mut();
        self.stream.begin(&desk.recorder, desk.wall(now), class, pieces, &mut sealed);
        if *self.stream.connection() != before {
            self.rename();
        }
        drop(sealed);
        self.writing = class == Class::Write;
        self.line.clear();
        if self.writing {
            let parts = pieces[0].splitn(3, |byte| *byte == b' ').take(2);
            let line_bytes = parts.map(|part| part.len() + 1).sum::<usize>().saturating_sub(1);
            self.line.extend_from_slice(&pieces[0][..line_bytes.min(pieces[0].len()).min(LINE_BYTES_MAX)]);
        }
        self.line.shrink_to(LINE_BYTES_KEPT);
        self.number = self.stream.requests();
        self.bytes = (pieces[0].len() + pieces[1].len()) as u64;
        // What was sealed meanwhile, if anything, has the new name.
        self.with(now, |_, _, _, _| ());
    }

    fn rename(&mut self) {
        self.key = Arc::from(self.stream.connection().as_str());
        self.life = self.desk.outlet.borrow().life();
        let mut slots = self.desk.slots.borrow_mut();
        slots.slots[self.slot].renew();
        self.epoch = slots.slots[self.slot].epoch;
    }

    /// More of the request.
    pub(crate) fn read(&mut self, now: Instant, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.with(now, |stream, recorder, at, sealed| stream.read(recorder, at, [bytes, &[]], sealed));
    }

    /// The request has ended. Whether it is one that waits until it is safe.
    pub(crate) fn end(&mut self, now: Instant, lengths: Lengths) -> bool {
        let mut ending = Ending::Unrecorded;
        self.with(now, |stream, recorder, _, sealed| ending = stream.end(recorder, lengths, sealed));
        let held = match ending {
            Ending::Held => true,
            Ending::Free => false,
            // What was lost on the way is told by `poll_safe`.
            Ending::Unrecorded => self.writing && self.is_lost(),
        };
        self.writing &= held;
        self.held = held;
        held
    }

    /// Nothing of the request that comes now is recorded.
    pub(crate) fn leave_out(&mut self, now: Instant) {
        self.with(now, Stream::leave_out);
        self.writing = false;
    }

    /// Bytes of the final response. Those that come before the request's end drop it.
    pub(crate) fn respond(&mut self, now: Instant, pieces: Pieces<'_>) {
        self.writing = false;
        self.with(now, |stream, recorder, at, sealed| stream.write(recorder, at, pieces, sealed));
    }

    /// The connection speaks something else from now on.
    pub(crate) fn upgraded(&mut self) {
        self.stream.upgraded();
        self.flush();
    }

    /// Gives away what is kept.
    pub(crate) fn flush(&mut self) {
        self.with(clock::now(), |stream, _, _, sealed| stream.flush(sealed));
    }

    /// When it is time to [`Self::flush`].
    pub(crate) fn due(&self) -> Option<Instant> {
        self.kept_since.map(|since| since + FLUSH_AFTER)
    }

    /// The same while an exchange is under way.
    pub(crate) fn due_under_way(&self) -> Option<Instant> {
        self.kept_since.map(|since| since + FLUSH_UNDER_WAY_AFTER)
    }

    /// Gives the log what it had no room for; whether nothing is left.
    fn unpark(&mut self, cx: &Context<'_>) -> bool {
        while let Some(entry) = self.parked.front() {
            if self.is_lost() {
                self.break_off();
                break;
            }
            if self.desk.outlet.borrow().poll_room(cx, entry.value.len()).is_pending() {
                return false;
            }
            let entry = self.parked.pop_front().expect("there was a first one");
            self.send(entry, clock::now());
        }
        true
    }

    /// Ready once more of a write may be read: the log takes it, and not too much is under way.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.writing {
            return Poll::Ready(());
        }
        let room = self.unpark(cx);
        let mut slots = self.desk.slots.borrow_mut();
        let slot = &mut slots.slots[self.slot];
        if slot.lost.is_some() || room && slot.under_way_bytes < UNDER_WAY_BYTES_MAX {
            return Poll::Ready(());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready once everything that was recorded of this connection is safe, or something of it is lost.
    pub(crate) fn poll_safe(&mut self, cx: &Context<'_>) -> Poll<Result<(), Lost>> {
        let room = self.unpark(cx);
        let mut slots = self.desk.slots.borrow_mut();
        let slot = &mut slots.slots[self.slot];
        if let Some(lost) = &slot.lost {
            self.held = false;
            return Poll::Ready(Err(lost.clone()));
        }
        if room && slot.under_way.is_empty() {
            self.writing = false;
            if std::mem::take(&mut self.held) && self.desk.outlet.borrow().sound_until().is_some() {
                let write = self.write();
                self.desk.released.borrow_mut().add(clock::now(), self.life, write);
            }
            return Poll::Ready(Ok(()));
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Only the end of the process cuts off what holds a write.
        self.over(Why::Ending);
        self.writing = false;
        let now = clock::now();
        // A write that is over does not wait for room any more.
        while !self.is_lost()
            && let Some(entry) = self.parked.pop_front()
        {
            self.send(entry, now);
        }
        self.with(now, |stream, recorder, at, sealed| stream.close(recorder, at, None, sealed));
        let mut slots = self.desk.slots.borrow_mut();
        slots.slots[self.slot].renew();
        slots.free.push(self.slot);
    }
}
