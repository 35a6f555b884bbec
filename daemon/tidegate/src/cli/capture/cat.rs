//! `tidegate capture cat`: captured records as the requests and responses that are in them, as the Replayer would find them.
//!
//! Requests are printed as their exchanges end, so those of several connections stand between one another. What cannot be
//! read is said on stderr and passed over, as the Replayer does; then the verb ends with 1.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxy::capture::Timestamp;
use proxy::capture::read::decode::RECORD_BYTES_MAX;
use proxy::capture::read::{Accumulator, Chunk, End, Exchange, Outcome};
use serde::Serialize;

use crate::cli::{Context, Exit, Wrong};

/// The longest line of a file, in bytes: the largest record as base64, with a key before it.
const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX / 3 * 4 + 1024;

/// So many lines that cannot be read are said; the rest is counted.
const PROBLEMS_SAID_MAX: usize = 10;

/// How much of a body is shown to a person, in bytes.
const BODY_BYTES_SHOWN: usize = 1024;

/// The arguments of `tidegate capture cat`.
///
/// With `--json`, one object a request: `connection`, `index` (which of the connection's requests, from 0), `request` and
/// `response` (base64; `null` without one), `complete`, what `end`ed the exchange, and the times of its first and last reads
/// and writes.
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    /// A file with a base64 record a line, as the Replayer's `-i` takes it; `KEY|` may stand before each.
    #[arg(long, value_name = "FILE", group = "what")]
    file: Option<PathBuf>,

    /// A folder of captured files, one that is being written to included.
    #[arg(long, value_name = "DIR", group = "what")]
    dir: Option<PathBuf>,

    /// A topic, from its beginning to where it ends now.
    #[cfg(feature = "kafka")]
    #[command(flatten)]
    kafka: crate::cli::kafka::Reading,
}

/// What may be named.
#[cfg(feature = "kafka")]
const WHAT: &str = "--kafka HOST:PORT with --topic, --dir DIR, or --file FILE";
#[cfg(not(feature = "kafka"))]
const WHAT: &str = "--dir DIR, or --file FILE";

/// What was found in all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    records: u64,
    requests: u64,
    complete: u64,
    answered: u64,
    connections: u64,
    /// Observations that mean nothing where they stand.
    ignored: u64,
    /// Lines that are no record.
    unreadable: u64,
    /// Places where the Replayer would stop.
    breaks: u64,
}

impl Cat {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        #[cfg(feature = "kafka")]
        if let Some(flag) = self.kafka.given().filter(|_| self.file.is_some() || self.dir.is_some()) {
            return Err(Wrong::because(format!("{flag} is given, and a file or a folder: leave one of both out")));
        }
        let name = match (&self.file, &self.dir) {
            (Some(path), _) | (None, Some(path)) => format!("`{}`", path.display()),
            (None, None) => "the topic".to_owned(),
        };
        let mut said = 0;
        let show = |exchange: &Exchange| {
            if context.json { context.print_json(&Said::of(exchange)) } else { context.print(&page(exchange)) }
        };
        let tell = |problem: String| {
            said += 1;
            if said <= PROBLEMS_SAID_MAX { context.say(&format!("{name}, {problem}")) } else { Ok(()) }
        };
        let totals = match (&self.file, &self.dir) {
            (Some(file), _) => {
                fs::File::open(file).map_err(anyhow::Error::from).and_then(|file| cat(BufReader::new(file), show, tell))
            }
            (None, Some(dir)) => cat_dir(dir, show, tell),
            #[cfg(feature = "kafka")]
            (None, None) if self.kafka.given().is_some() => cat_topic(&self.kafka, show, tell),
            (None, None) => return Err(Wrong::because(format!("say what is to be read: {WHAT}"))),
        }
        .with_context(|| format!("cannot read {name}"))?;
        context.say(&totals.sentence())?;
        Ok(if totals.unreadable + totals.breaks > 0 { Exit::Error } else { Exit::Done })
    }
}

impl Totals {
    fn sentence(&self) -> String {
        let mut text = format!(
            "{} requests, {} complete, {} answered; {} records of {} connections",
            self.requests, self.complete, self.answered, self.records, self.connections
        );
        for (count, what) in [
            (self.ignored, "observations have no place and were passed over"),
            (self.unreadable, "are no records and were passed over"),
            (self.breaks, "places would stop the Replayer"),
        ] {
            if count > 0 {
                write!(text, "; {count} {what}").expect("a text takes what is written to it");
            }
        }
        text
    }
}

/// Reads a file's lines, shows each request, and tells each problem.
fn cat(
    mut input: impl BufRead,
    mut show: impl FnMut(&Exchange) -> anyhow::Result<()>,
    mut tell: impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let mut accumulator = Accumulator::default();
    let (mut line, mut record, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            totals.unreadable += 1;
            tell(format!(
                "line {number} has more than {LINE_BYTES_MAX} bytes: is this a file with a base64 record a line?"
            ))?;
            input.skip_until(b'\n')?;
            continue;
        }
        if number == 1 && line.starts_with(&[0x1f, 0x8b]) {
            anyhow::bail!("it is compressed; unzip it first, as `gzip -dc FILE > PLAIN` does");
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match decode(text, &mut record) {
            Ok(chunk) => {
                totals.records += 1;
                accumulator.add(&chunk, &mut outcomes);
            }
            Err(why) => {
                totals.unreadable += 1;
                tell(format!("line {number}: {why}"))?;
            }
        }
        take(&mut outcomes, &mut totals, &mut show, |what| tell(format!("line {number}: {what}")))?;
    }
    accumulator.finish(&mut outcomes);
    take(&mut outcomes, &mut totals, &mut show, tell)?;
    Ok(totals)
}

/// Reads a folder of captured files.
fn cat_dir(
    dir: &Path,
    mut show: impl FnMut(&Exchange) -> anyhow::Result<()>,
    mut tell: impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<Totals> {
    // An empty list would be taken for an empty capture.
    anyhow::ensure!(dir.is_dir(), "there is no such folder");
    let mut totals = Totals::default();
    let (mut accumulator, mut outcomes) = (Accumulator::default(), Vec::new());
    for (number, kept) in (1_u64..).zip(proxy::capture::file::read(dir)?) {
        let place = format!("record {number}");
        match kept {
            Ok(kept) => add(&kept.value, &place, &mut totals, &mut accumulator, &mut outcomes, &mut tell)?,
            Err(error) => {
                totals.unreadable += 1;
                tell(error.to_string())?;
            }
        }
        take(&mut outcomes, &mut totals, &mut show, |what| tell(format!("{place}: {what}")))?;
    }
    accumulator.finish(&mut outcomes);
    take(&mut outcomes, &mut totals, &mut show, tell)?;
    Ok(totals)
}

/// Reads a topic. Each partition is read as if it were alone: a connection is in one, and the times of several do not
/// run side by side.
#[cfg(feature = "kafka")]
fn cat_topic(
    kafka: &crate::cli::kafka::Reading,
    mut show: impl FnMut(&Exchange) -> anyhow::Result<()>,
    mut tell: impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<Totals> {
    let mut reader = proxy::capture::kafka::read::read(&kafka.options()?, &std::collections::BTreeMap::new())?;
    let mut totals = Totals::default();
    let mut accumulators = std::collections::BTreeMap::<i32, Accumulator>::new();
    let mut outcomes = Vec::new();
    while let Some(stored) = reader.next_stored().map_err(anyhow::Error::msg)? {
        let place = format!("partition {}, offset {}", stored.partition, stored.offset);
        let accumulator = accumulators.entry(stored.partition).or_default();
        add(&stored.value, &place, &mut totals, accumulator, &mut outcomes, &mut tell)?;
        take(&mut outcomes, &mut totals, &mut show, |what| tell(format!("{place}: {what}")))?;
    }
    for accumulator in accumulators.into_values() {
        accumulator.finish(&mut outcomes);
    }
    take(&mut outcomes, &mut totals, &mut show, tell)?;
    Ok(totals)
}

fn add(
    record: &[u8],
    place: &str,
    totals: &mut Totals,
    accumulator: &mut Accumulator,
    outcomes: &mut Vec<Outcome>,
    tell: &mut impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if record.is_empty() {
        totals.unreadable += 1;
        return tell(format!("{place}: the record has no value"));
    }
    match Chunk::decode(record) {
        Ok(chunk) => {
            totals.records += 1;
            accumulator.add(&chunk, outcomes);
            Ok(())
        }
        Err(why) => {
            totals.unreadable += 1;
            tell(format!("{place}: {why}"))
        }
    }
}

/// One line as a record.
fn decode<'r>(line: &[u8], record: &'r mut Vec<u8>) -> Result<Chunk<'r>, String> {
    let text = line.rsplit(|&byte| byte == b'|').next().unwrap_or(line);
    record.clear();
    STANDARD.decode_vec(text, record).map_err(|error| format!("not base64: {error}"))?;
    Chunk::decode(record).map_err(|error| error.to_string())
}

fn take(
    outcomes: &mut Vec<Outcome>,
    totals: &mut Totals,
    show: &mut impl FnMut(&Exchange) -> anyhow::Result<()>,
    mut tell: impl FnMut(String) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for outcome in outcomes.drain(..) {
        match outcome {
            Outcome::Exchange(exchange) => {
                totals.requests += 1;
                totals.complete += u64::from(exchange.complete);
                totals.answered += u64::from(exchange.response.as_ref().is_some_and(|bytes| !bytes.is_empty()));
                show(&exchange)?;
            }
            Outcome::Closed(_) => totals.connections += 1,
            Outcome::Ignored(_) => totals.ignored += 1,
            Outcome::Breaks(breaks) => {
                totals.breaks += 1;
                tell(format!("the Replayer would stop here: {breaks}"))?;
            }
        }
    }
    Ok(())
}

/// A request as JSON.
#[derive(Serialize)]
struct Said<'e> {
    connection: &'e str,
    index: i64,
    node: &'e str,
    request: String,
    response: Option<String>,
    complete: bool,
    end: &'static str,
    read_first: String,
    read_last: String,
    write_first: Option<String>,
    write_last: Option<String>,
    reads: u32,
    writes: u32,
    cut_bytes: u64,
}

impl<'e> Said<'e> {
    fn of(exchange: &'e Exchange) -> Self {
        Self {
            connection: &exchange.connection,
            index: exchange.number,
            node: &exchange.node,
            request: STANDARD.encode(&exchange.request),
            response: exchange.response.as_ref().map(|bytes| STANDARD.encode(bytes)),
            complete: exchange.complete,
            end: end_name(exchange.end),
            read_first: time(exchange.read_first),
            read_last: time(exchange.read_last),
            write_first: exchange.write_first.map(time),
            write_last: exchange.write_last.map(time),
            reads: exchange.reads,
            writes: exchange.writes,
            cut_bytes: exchange.cut_bytes,
        }
    }
}

const fn end_name(end: End) -> &'static str {
    match end {
        End::NextRequest => "next_request",
        End::Dropped => "dropped",
        End::Exception => "exception",
        End::Close => "close",
        End::Expiry => "expiry",
        End::EndOfInput => "end_of_input",
    }
}

/// As `2026-11-21T11:22:33.000000001Z`; as plain seconds where no calendar has the date.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::new(at.seconds(), at.nanos().cast_signed())
        .map_or_else(|_| format!("{}.{:09} s", at.seconds(), at.nanos()), |at| at.to_string())
}

/// A request and its response for a person.
fn page(exchange: &Exchange) -> String {
    let how = match (exchange.complete, &exchange.response) {
        (true, Some(_)) => "",
        (true, None) => ", not answered",
        (false, _) if exchange.end == End::Dropped => ", left out of replay",
        (false, _) => ", not complete",
    };
    let mut text = format!("{}  {} request {}{how}\n", time(exchange.read_first), exchange.connection, exchange.number);
    message(&mut text, '>', &exchange.request);
    if let Some(response) = &exchange.response {
        message(&mut text, '<', response);
    }
    text.push('\n');
    text
}

/// Head and body, each line behind a mark. What a terminal would act on is escaped.
fn message(to: &mut String, mark: char, bytes: &[u8]) {
    let head_bytes = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |place| place + 4);
    let (head, body) = bytes.split_at(head_bytes);
    lines(to, mark, &String::from_utf8_lossy(head));
    let shown = &body[..body.len().min(BODY_BYTES_SHOWN)];
    match std::str::from_utf8(shown) {
        // A NUL is UTF-8, and in no text.
        Ok(text) if !text.contains('\0') => lines(to, mark, text),
        // A character may be cut by the limit; anything else that is no text is not shown as one.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            lines(to, mark, &String::from_utf8_lossy(&shown[..error.valid_up_to()]));
        }
        Ok(_) | Err(_) => {
            writeln!(to, "{mark} ({} bytes that are no text)", body.len()).expect("a text takes what is written to it");
            return;
        }
    }
    if body.len() > shown.len() {
        writeln!(to, "{mark} (and {} bytes more)", body.len() - shown.len())
            .expect("a text takes what is written to it");
    }
}

fn lines(to: &mut String, mark: char, text: &str) {
    for line in text.lines() {
        to.push(mark);
        if !line.is_empty() {
            to.push(' ');
        }
        for character in line.chars() {
            if character.is_control() && character != '\t' {
                to.extend(character.escape_default());
            } else {
                to.push(character);
            }
        }
        to.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use expect_test::expect;
    use flate2::read::GzDecoder;

    use super::*;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
    }

    fn java_topic() -> BufReader<GzDecoder<fs::File>> {
        BufReader::new(GzDecoder::new(fs::File::open(vectors().join("java-topic.b64.gz")).unwrap()))
    }

    /// Proves that the objects which are printed for a real topic are those that a reader without our code finds in it, byte
    /// for byte: 181 requests, 179 complete, 178 answered.
    #[test]
    fn what_is_printed_of_a_real_topic_is_what_another_reader_finds() {
        let mut printed = Vec::new();
        let totals = cat(
            java_topic(),
            |exchange| {
                serde_json::to_writer(&mut printed, &Said::of(exchange))?;
                printed.push(b'\n');
                Ok(())
            },
            |problem| panic!("{problem}"),
        )
        .unwrap();
        expect!["181 requests, 179 complete, 178 answered; 120 records of 48 connections; 6 observations have no place and were passed over"]
            .assert_eq(&totals.sentence());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), printed).unwrap();
        let output = Command::new("python3")
            .arg(vectors().join("../capture/capture_reader.py"))
            .arg(vectors().join("java-topic.b64.gz"))
            .arg("--cat")
            .arg(file.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        expect![[r"
            181 requests are said as they are recorded
            181 requests, 179 complete, 178 answered
        "]]
        .assert_eq(&String::from_utf8(output.stdout).unwrap());
    }

    /// Proves how a request looks to a person, and that bytes which a terminal would act on are escaped.
    #[test]
    fn a_request_is_shown_as_lines() {
        let mut shown = String::new();
        cat(
            java_topic(),
            |exchange| {
                if shown.is_empty() && exchange.request.starts_with(b"POST") {
                    shown = page(exchange).lines().filter(|line| !line.contains("X-")).collect::<Vec<_>>().join("\n");
                }
                Ok(())
            },
            |problem| panic!("{problem}"),
        )
        .unwrap();
        assert!(shown.contains("\n> POST /") && shown.contains("\n< HTTP/1.1 "), "{shown}");
        let mut text = String::new();
        message(&mut text, '>', b"GET /\x1b[2J HTTP/1.1\r\nA: b\r\n\r\n\xff\xfe\x00");
        expect![[r"
            > GET /\u{1b}[2J HTTP/1.1
            > A: b
            >
            > (3 bytes that are no text)
        "]]
        .assert_eq(&text);
    }

    /// Proves that lines which are no records are told with their numbers and passed over, that a record which stops the
    /// Replayer is told, and that a compressed file is refused with what to do.
    #[test]
    fn what_cannot_be_read_is_told_and_passed_over() {
        let topic = std::io::read_to_string(java_topic()).unwrap();
        // The first records are of connections that were closed without a word.
        let first = topic.lines().find(|line| line.len() > 1_000).unwrap();
        // A chunk of connection `c` without an observation.
        let file = format!("no base64!\n\nkey|{first}\nCgFjEg==\nCgFjGAE=\n");
        let (mut problems, mut requests) = (Vec::new(), 0);
        let totals = cat(
            file.as_bytes(),
            |_| {
                requests += 1;
                Ok(())
            },
            |problem| {
                problems.push(problem);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!((totals.records, totals.unreadable, totals.breaks), (2, 2, 1));
        assert!(requests > 0);
        expect![[r#"
            [
                "line 1: not base64: Invalid symbol 32, offset 2.",
                "line 4: the record is cut off at byte 4: 1 bytes are due there, 0 are left",
                "line 5: the Replayer would stop here: chunk 1 of connection c has no observation",
            ]
        "#]]
        .assert_debug_eq(&problems);
        let file = [&vec![b'A'; LINE_BYTES_MAX + 1], first.as_bytes()].join(&b'\n');
        let mut problems = Vec::new();
        let totals = cat(
            &file[..],
            |_| Ok(()),
            |problem| {
                problems.push(problem);
                Ok(())
            },
        );
        let totals = totals.unwrap();
        assert_eq!((totals.records, totals.unreadable, problems.len()), (1, 1, 1), "a line that is too long is one");
        assert!(problems[0].starts_with("line 1 has more than "), "{problems:?}");
        let refused = cat(&[0x1f, 0x8b, 0x08][..], |_| Ok(()), |_| Ok(())).unwrap_err();
        assert!(refused.to_string().contains("gzip -dc"), "{refused}");
    }
}
