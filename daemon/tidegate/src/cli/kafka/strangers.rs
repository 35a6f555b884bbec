//! Records of a topic that no capture proxy wrote: told with their places, counted, and passed over. A topic is shared more often
//! than anybody thinks.

use proxy::capture::{kafka::read::Stored, read::Chunk};

use crate::cli::Context;

/// So many are told with their places; the rest is counted.
const TOLD_MAX: u64 = 10;

/// How many there were so far.
#[derive(Debug, Default)]
pub(in crate::cli) struct Strangers {
    count: u64,
}

impl Strangers {
    /// A record as what a capture proxy writes; `None` for a stranger's, which is counted and, if it is among the first, told.
    pub(in crate::cli) fn read<'s>(
        &mut self,
        stored: &'s Stored,
        context: &Context,
    ) -> anyhow::Result<Option<Chunk<'s>>> {
        match readable(&stored.value) {
            Ok(chunk) => Ok(Some(chunk)),
            Err(why) => {
                self.count += 1;
                if self.count <= TOLD_MAX {
                    context.say(&format!("partition {}, offset {}: {why}", stored.partition, stored.offset))?;
                }
                Ok(None)
            }
        }
    }

    pub(in crate::cli) const fn count(&self) -> u64 {
        self.count
    }

    /// How many there are, for the end of a sentence; nothing where there are none.
    pub(in crate::cli) fn clause(&self) -> String {
        clause(self.count)
    }
}

/// The same for a number.
pub(super) fn clause(count: u64) -> String {
    if count > 0 { format!("; {count} records are not of a capture proxy") } else { String::new() }
}

/// A value as what a capture proxy writes, or why it is none.
fn readable(value: &[u8]) -> Result<Chunk<'_>, String> {
    if value.is_empty() {
        return Err("the record has no value".to_owned());
    }
    let chunk = Chunk::decode(value).map_err(|error| error.to_string())?;
    // Other messages may read as one of ours, all of whose fields are unknown or missing.
    if chunk.count == 0 {
        return Err("the record has no observation: is this a TrafficStream?".to_owned());
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that what others write is told from what a capture proxy does, with a reason, fields that we do not know included.
    #[test]
    fn strangers_are_told_from_capture() {
        // Connection `c`, an observation that closes it, and a field of a later format.
        assert_eq!(readable(b"\x0a\x01c\x12\x02\x5a\x00\x20\x01\xa2\x06\x01x").map(|chunk| chunk.count), Ok(1));
        for (value, why) in [
            (&b""[..], "the record has no value"),
            (b"{\"took\":3}", "what begins at byte 0 of the record is no field: is this a TrafficStream?"),
            (b"\x0a\x01c\x12\x05\x5a\x00", "the record is cut off at byte 5: 5 bytes are due there, 2 are left"),
            // Field 100 alone: another message.
            (b"\xa2\x06\x01x", "the record has no observation: is this a TrafficStream?"),
            (b"\x0a\x01c", "the record has no observation: is this a TrafficStream?"),
        ] {
            assert_eq!(readable(value).map(|chunk| chunk.count), Err(why.to_owned()), "{value:?}");
        }
    }
}
