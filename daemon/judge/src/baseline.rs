//! The source's own record from before the shift.

use serde::{Deserialize, Serialize};

use crate::{Block, Histogram};

/// Gathers blocks of the source alone until the shift begins; serializes, so that a restart goes on recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorder {
    intervals: u32,
    requests: u64,
    latency: Histogram,
}

impl Recorder {
    /// Takes the next block; only its source is read.
    pub fn record(&mut self, block: &Block) {
        if block.source.requests == 0 {
            return;
        }
        self.intervals = self.intervals.saturating_add(1);
        self.requests = self.requests.saturating_add(block.source.requests);
        self.latency.merge(&block.source.latency);
    }

    /// How many blocks with traffic were recorded.
    pub fn intervals(&self) -> u32 {
        self.intervals
    }

    /// The baseline so far; thin when it stands on fewer than `intervals_min` blocks.
    pub fn baseline(&self, intervals_min: u32) -> Baseline {
        Baseline { intervals: self.intervals, thin: self.intervals < intervals_min, requests: self.requests }
    }
}

/// What was normal for the source before the shift.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    intervals: u32,
    thin: bool,
    requests: u64,
}

impl Baseline {
    /// A baseline from blocks of the source alone, oldest first; thin when fewer than `intervals_min` have traffic.
    pub fn from_blocks<'a>(blocks: impl IntoIterator<Item = &'a Block>, intervals_min: u32) -> Self {
        let mut recorder = Recorder::default();
        for block in blocks {
            recorder.record(block);
        }
        recorder.baseline(intervals_min)
    }

    /// No record at all: thin, and everything that needs one stays off.
    pub fn none() -> Self {
        Self { thin: true, ..Self::default() }
    }

    /// Whether it stands on too few intervals to judge by.
    pub fn is_thin(&self) -> bool {
        self.thin
    }

    /// How many intervals with traffic it stands on.
    pub fn intervals(&self) -> u32 {
        self.intervals
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.requests
    }
}
