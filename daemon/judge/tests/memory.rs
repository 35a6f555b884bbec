//! What an interval costs in memory: nothing, once a judge has begun.
//!
//! Counted by an allocator that counts, on the thread of the test. What a judge keeps is laid out when it is made;
//! the histograms of a step alone grow while durations appear in buckets that had none, a few times in all.

use allocation_counter::measure;
use judge::{Baseline, Context, Judge, Verdict};

mod drawn;

use drawn::{all_guards, blocks};

fn context(at: usize) -> Context {
    Context { new_step: at.is_multiple_of(1_000), weight: 200, next_weight: Some(500), source_live: true }
}

#[test]
fn an_interval_takes_no_memory_once_a_judge_has_begun() {
    // An hour of seconds with all guards, new steps and verdicts included, after the first two hundred.
    let minutes = blocks(60_000, 60);
    let blocks = blocks(1_000, 3_600);
    let mut judge = Judge::new(all_guards(), Baseline::from_blocks(&minutes, 30), 5);
    let mut observe = |range: std::ops::Range<usize>| {
        let taken = measure(|| {
            for at in range {
                judge.observe(&blocks[at], &context(at));
                assert_ne!(judge.proven(), Verdict::Fail);
            }
        });
        taken.count_total
    };
    let first = observe(0..200);
    assert!(first <= 60, "the histograms of the first step grew {first} times");
    assert_eq!(observe(200..3_600), 0);
}

#[test]
fn a_judge_that_learns_its_reference_takes_little_memory_and_ever_more_seldom() {
    // Without a baseline the bins are cut anew each time what is known of the source has doubled.
    let blocks = blocks(1_000, 2_000);
    let mut judge = Judge::new(all_guards(), Baseline::none(), 5);
    let mut observe = |range: std::ops::Range<usize>| {
        measure(|| range.for_each(|at| judge.observe(&blocks[at], &context(at)))).count_total
    };
    let (first, last) = (observe(0..1_000), observe(1_000..2_000));
    assert!(first <= 1_500, "{first}");
    assert!(last <= 100, "{last}");
}

#[test]
fn an_allocation_would_be_counted() {
    // The two tests above could not fail if the allocator did not count.
    assert!(measure(|| drop(std::hint::black_box(Vec::<u64>::with_capacity(10)))).count_total >= 1);
}
