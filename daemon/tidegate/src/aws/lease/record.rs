//! The item of a listener in the table, and who would hold it.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use cutover::Timestamp;
use serde_json::{Value, json};

use crate::clock::rfc3339;

/// The table's partition key.
pub(super) const KEY: &str = "listener";

/// Who a daemon is to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The same after a restart: the machine's name, a name that the state directory keeps, and the service, since two
    /// services of one daemon may be about one listener by mistake.
    pub owner: String,
    /// This process.
    pub run: String,
    /// Where it is, for people.
    pub place: String,
    /// The service whose policy names the listener.
    pub service: String,
}

fn fresh() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The machine's name, as it has it itself.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "a machine without a name".to_owned() } else { name.to_owned() }
}

impl Holder {
    /// The holder whose name is kept in the file at `path`, which is made where there is none.
    pub(super) fn of(path: &Path, state_dir: &Path, service: &str) -> std::io::Result<Self> {
        let name = match std::fs::read_to_string(path) {
            Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
            Ok(_) => return Err(std::io::Error::new(ErrorKind::InvalidData, format!("{} is empty", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = fresh();
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
                file.write_all(name.as_bytes())?;
                file.sync_all()?;
                name
            }
            Err(error) => return Err(error),
        };
        let (host, directory) = (host(), state_dir.display());
        let place = format!("{host} ({directory}, process {})", std::process::id());
        Ok(Self { owner: format!("{host}/{name}/{service}"), run: fresh(), place, service: service.to_owned() })
    }
}

/// Who has it, since when, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: String,
    pub(super) run: String,
    pub(super) place: String,
    pub(super) service: String,
    /// One more with each write of anybody.
    pub(super) generation: u64,
    /// AWS's time.
    pub(super) since: Timestamp,
    /// AWS's time, as its holder knows it.
    pub(super) expires: Timestamp,
}

impl Record {
    /// From DynamoDB's spelling; `None` for what Tidegate did not write.
    pub(super) fn read(item: &Value) -> Option<Self> {
        let text = |name: &str| item.get(name)?.get("S")?.as_str().map(str::to_owned);
        let number = |name: &str| item.get(name)?.get("N")?.as_str()?.parse::<i64>().ok();
        Some(Self {
            owner: text("owner")?,
            run: text("run")?,
            place: text("place")?,
            service: text("service")?,
            generation: u64::try_from(number("generation")?).ok()?,
            since: Timestamp(number("since")?),
            expires: Timestamp(number("expires")?),
        })
    }

    /// The write of this record, under the condition that what stands is what was found. Names go by placeholders, since some
    /// of them are reserved words.
    pub(super) fn put(&self, table: &str, listener: &str, found: Option<&Self>) -> Value {
        let mut input = json!({
            "TableName": table,
            "Item": {
                KEY: {"S": listener}, "owner": {"S": self.owner}, "run": {"S": self.run}, "place": {"S": self.place},
                "service": {"S": self.service}, "generation": {"N": self.generation.to_string()},
                "since": {"N": self.since.0.to_string()}, "expires": {"N": self.expires.0.to_string()},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        if let Some(found) = found {
            input["ConditionExpression"] = json!("#o = :o AND #r = :r AND #g = :g");
            input["ExpressionAttributeNames"] = json!({"#o": "owner", "#r": "run", "#g": "generation"});
            input["ExpressionAttributeValues"] =
                json!({":o": {"S": found.owner}, ":r": {"S": found.run}, ":g": {"N": found.generation.to_string()}});
        } else {
            input["ConditionExpression"] = json!("attribute_not_exists(#l)");
            input["ExpressionAttributeNames"] = json!({ "#l": KEY });
        }
        input
    }

    /// Whether this very process wrote it.
    pub(super) fn is_of(&self, holder: &Holder) -> bool {
        (&self.owner, &self.run) == (&holder.owner, &holder.run)
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let Self { place, service, since, expires, .. } = self;
        format!(
            "Tidegate on {place} drives it for the service `{service}` since {}, by a lease until {} unless it is renewed",
            rfc3339(*since),
            rfc3339(*expires)
        )
    }
}
