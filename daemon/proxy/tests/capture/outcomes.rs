//! What the real accumulator made of odd input, and ours makes of the same.

use prost::Message as _;
use proxy::capture::Timestamp;
use proxy::capture::read::{Outcome, accumulate::Breaks};

use crate::reference::{
    Capture, Data, Empty, EndOfMessage, Index, SegmentData, Text, TrafficObservation, TrafficStream,
};
use crate::support::{Scenario, misplaced, read, say, scenarios};

/// The records of a scenario, made from what the golden file prints of them: `[first-last] ncs:n.c.1: R[27]: … EOM CLOSE`.
fn records(scenario: &Scenario) -> Vec<Vec<u8>> {
    let printed = scenario.lines.iter().filter(|line| line.starts_with('['));
    printed.enumerate().map(|(place, line)| record(scenario, place, line).encode_to_vec()).collect()
}

fn record(scenario: &Scenario, place: usize, line: &str) -> TrafficStream {
    let (times, rest) = line[1..].split_once("] ncs:").unwrap();
    let (name, rest) = rest.split_once(':').unwrap();
    let names: Vec<&str> = name.split('.').collect();
    let [node, connection, index] = names[..] else { panic!("{name}") };
    let (first, last) = times.split_once('-').unwrap();
    let (first, last) = (first.parse().unwrap_or(0), last.parse().unwrap_or(0));
    let mut stream = TrafficStream {
        connection_id: connection.to_owned(),
        node_id: node.to_owned(),
        index: Some(Index::Number(index.parse().unwrap())),
        ..TrafficStream::default()
    };
    // What the print does not show.
    match (scenario.name.as_str(), place) {
        ("A5", 0) => {
            (stream.prior_requests_received, stream.last_observation_was_unterminated_read) = (Some(3), Some(false));
        }
        ("A6", 0) => {
            (stream.prior_requests_received, stream.last_observation_was_unterminated_read) = (Some(3), Some(true));
        }
        ("A7", 0) => stream.last_observation_was_unterminated_read = Some(true),
        ("A13" | "A14" | "A15", 1) => stream.prior_requests_received = Some(1),
        _ => {}
    }
    for (second, what) in (first..).zip(captures(scenario, rest)) {
        let at = Timestamp::new(second.min(last), 0);
        let mut observation = TrafficObservation::new(at, what);
        if scenario.name == "A20" {
            observation.ts = None;
        }
        stream.sub_stream.push(observation);
    }
    stream
}

fn captures(scenario: &Scenario, printed: &str) -> Vec<Capture> {
    let mut found = Vec::new();
    for word in printed.split_whitespace() {
        let size = || vec![b'x'; word[2..word.find(']').unwrap()].parse().unwrap()];
        let segments = |segment: fn(SegmentData) -> Capture| {
            let data = size();
            let (one, other) = data.split_at(data.len() / 2);
            [one, other].map(|data| segment(SegmentData { data: data.to_vec() }))
        };
        let segmented = matches!(scenario.name.as_str(), "A18" | "A19");
        match word {
            word if word.starts_with("R[") && segmented => {
                found.extend(segments(Capture::ReadSegment));
                if scenario.name == "A19" {
                    found.push(Capture::SegmentEnd(Empty {}));
                }
            }
            word if word.starts_with("W[") && (segmented || scenario.name == "A3") => {
                found.extend(segments(Capture::WriteSegment));
                found.push(Capture::SegmentEnd(Empty {}));
            }
            // Two writes that were printed as one.
            word if word.starts_with("W[") && scenario.name == "A10" => {
                let half = size().split_off(43);
                found.extend([half.clone(), half].map(|data| Capture::Write(Data { data })));
            }
            word if word.starts_with("R[") => found.push(Capture::Read(Data { data: size() })),
            word if word.starts_with("W[") => found.push(Capture::Write(Data { data: size() })),
            "EOM" => found.push(Capture::EndOfMessageIndicator(EndOfMessage::default())),
            "DROPPED" => found.push(Capture::RequestDropped(Empty {})),
            "EXCEPTION" => found.push(Capture::ConnectionException(Text { message: "reset".to_owned() })),
            "OPEN" => found.push(Capture::Connect(Empty {})),
            "DISCONNECT" => found.push(Capture::Disconnect(Empty {})),
            "CLOSE" => found.push(Capture::Close(Empty {})),
            _ => {} // a part of the bytes that are printed behind a size
        }
    }
    found
}

/// Proves that all twenty scenarios end as in the real accumulator: the same requests and responses with the same names,
/// packets and bytes, the same ends, as many warnings, and a break where that one throws.
#[test]
fn odd_input_has_the_outcomes_of_the_real_accumulator() {
    let scenarios = scenarios('A');
    assert_eq!(scenarios.len(), 20);
    for scenario in &scenarios {
        let records = records(scenario);
        let outcomes = read(records.iter().map(Vec::as_slice));
        let breaks = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Breaks(_)));
        // With assertions off, as it was run, the real one carries on after a request that ends within its segments.
        let lenient =
            matches!(breaks.map(|place| &outcomes[place]), Some(Outcome::Breaks(Breaks::OpenSegments { .. })));
        assert_eq!(breaks.is_some() && !lenient, scenario.threw(), "{}", scenario.heading);
        let until = if lenient { outcomes.len() } else { breaks.unwrap_or(outcomes.len()) };
        let mut said = scenario.said();
        if scenario.name == "A7" {
            // The real one counts a request that was begun when its input ends, and there alone.
            said[1] = said[1].replace("n=1", "n=0");
        }
        assert_eq!(say(&outcomes[..until]), said, "{}", scenario.heading);
        assert_eq!(misplaced(&outcomes), scenario.warned(), "{}: {outcomes:#?}", scenario.heading);
    }
}

/// Proves that reading goes on behind what the real one does not survive.
#[test]
fn reading_goes_on_behind_what_breaks_the_replayer() {
    for scenario in scenarios('A').iter().filter(|scenario| matches!(scenario.name.as_str(), "A3" | "A4")) {
        let records = records(scenario);
        let outcomes = read(records.iter().map(Vec::as_slice));
        let whole = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Exchange(one) if one.complete)).count();
        assert_eq!(whole, 1, "{}: {outcomes:#?}", scenario.heading);
        let broken: Vec<String> = outcomes
            .iter()
            .filter_map(|outcome| if let Outcome::Breaks(breaks) = outcome { Some(breaks.to_string()) } else { None })
            .collect();
        assert_eq!(
            broken,
            [if scenario.name == "A3" {
                "chunk 1 of connection c ends segments that never began"
            } else {
                "chunk 1 of connection c has no observation"
            }]
        );
    }
}
