//! Services that take what leaves the account: topics of SNS and buses of EventBridge. What is sent is kept in the
//! history and goes nowhere.

use serde_json::{Value, json};

use crate::clock::Time;
use crate::history::{History, Message};
use crate::model::{ACCOUNT, REGION, Refusal};
use crate::wire::params::Params;

/// The longest message of SNS and the largest entry of EventBridge: 256 KiB.
const BYTES_MAX: usize = 256 * 1024;
/// Entries in one `PutEvents`.
const ENTRIES_MAX: usize = 10;

fn id(history: &History, now: Time) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", history.messages().len(), now.0)
}

/// SNS.
pub fn sns(history: &History, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    (operation == "Publish").then(|| publish(history, now, params))
}

fn publish(history: &History, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let invalid = |why: &str| Refusal::new("InvalidParameter", format!("Invalid parameter: {why}"));
    let topic = params.text("TopicArn").or_else(|| params.text("TargetArn")).ok_or_else(|| invalid("TopicArn"))?;
    if !topic.starts_with(&format!("arn:aws:sns:{REGION}:{ACCOUNT}:")) {
        return Err(Refusal::new("NotFound", "Topic does not exist").with_status(404));
    }
    let message = params.text("Message").filter(|text| !text.is_empty()).ok_or_else(|| invalid("Empty message"))?;
    if message.len() > BYTES_MAX {
        return Err(invalid("Message too long"));
    }
    if params.text("Subject").is_some_and(|subject| subject.is_empty() || subject.len() > 100 || subject.contains('\n'))
    {
        return Err(invalid("Subject"));
    }
    let body = json!({"Subject": params.text("Subject"), "Message": message});
    let id = id(history, now);
    history.note_message(Message { at: now, to: topic.to_owned(), body });
    Ok(json!({"MessageId": id}))
}

/// EventBridge.
pub fn events(history: &History, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    (operation == "PutEvents").then(|| put_events(history, now, params))
}

/// Each entry is taken or refused by itself, in an answer that is 200 either way.
fn put_events(history: &History, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let entries: Vec<Params<'_>> = params.tables("Entries").collect();
    if entries.is_empty() || entries.len() > ENTRIES_MAX {
        let why = format!("Member must have length between 1 and {ENTRIES_MAX} at 'entries'");
        return Err(Refusal::new("ValidationException", why));
    }
    let mut failed = 0;
    let mut shown = Vec::new();
    for entry in entries {
        let missing =
            ["Source", "DetailType", "Detail"].into_iter().find(|name| entry.text(name).is_none_or(str::is_empty));
        let detail = entry.text("Detail").and_then(|text| serde_json::from_str::<Value>(text).ok());
        let fault = match (missing, &detail) {
            (Some(name), _) => Some((
                "InvalidArgument",
                format!("Parameter {name} is not valid. Reason: {name} is a required argument."),
            )),
            (None, Some(Value::Object(_))) => None,
            _ => Some(("MalformedDetail", "Detail is malformed.".to_owned())),
        };
        if let Some((code, why)) = fault {
            failed += 1;
            shown.push(json!({"ErrorCode": code, "ErrorMessage": why}));
            continue;
        }
        let id = id(history, now);
        let to = entry.text("EventBusName").unwrap_or("default").to_owned();
        let body = json!({"Source": entry.text("Source"), "DetailType": entry.text("DetailType"), "Detail": detail,
                          "Resources": entry.texts("Resources")});
        history.note_message(Message { at: now, to, body });
        shown.push(json!({"EventId": id}));
    }
    Ok(json!({"FailedEntryCount": failed, "Entries": shown}))
}

/// STS: who is calling.
pub fn sts(operation: &str) -> Option<Result<Value, Refusal>> {
    (operation == "GetCallerIdentity").then(|| {
        Ok(json!({
            "Arn": format!("arn:aws:iam::{ACCOUNT}:user/lab"),
            "UserId": "AIDALABLABLABLABLABLA",
            "Account": ACCOUNT,
        }))
    })
}
