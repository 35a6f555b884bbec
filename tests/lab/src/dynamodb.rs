//! DynamoDB, as far as a lease needs it: tables with a partition key, reading one item, and writing one under a condition.
//!
//! A condition is checked and the item written with the account locked, so two writers are told apart as in AWS. A table is
//! active at once, where AWS takes seconds; every read is consistent. Capacity is on demand and never runs out: `throttle`
//! among the faults does that.

mod condition;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Time;
use crate::model::{ACCOUNT, Model, REGION, Refusal};
use crate::wire::params::Params;

/// The attributes of one item, each as `{"S": …}`, by name.
pub type Item = Map<String, Value>;

/// A table with a partition key and no sort key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The attribute that tells items apart.
    pub key: String,
    /// Its type: `S`, `N` or `B`.
    pub key_type: String,
    /// When it was made.
    pub created: Time,
    /// By the key's value as JSON.
    pub items: BTreeMap<String, Item>,
}

/// What reads the account.
pub fn read(model: &Model, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "DescribeTable" => describe(model, params),
        "GetItem" => get(model, params),
        _ => return None,
    })
}

/// What changes the account.
pub fn write(model: &mut Model, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "CreateTable" => create(model, now, params),
        "DeleteTable" => delete(model, params),
        "PutItem" => put(model, params),
        _ => return None,
    })
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::new("ValidationException", why)
}

fn name(params: Params<'_>) -> Result<&str, Refusal> {
    let name = params.text("TableName").ok_or_else(|| {
        invalid("1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null")
    })?;
    let well = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !well || !(3..=255).contains(&name.len()) {
        return Err(invalid("TableName must be at least 3 characters long and at most 255 characters long"));
    }
    Ok(name)
}

/// The table that is meant. Those that describe it and those that use it say by other words that it is not there.
fn table<'a>(model: &'a Model, params: Params<'_>, named: bool) -> Result<&'a Table, Refusal> {
    let name = name(params)?;
    let which = if named { format!(": Table: {name} not found") } else { String::new() };
    let missing = || Refusal::new("ResourceNotFoundException", format!("Requested resource not found{which}"));
    model.tables.get(name).ok_or_else(missing)
}

fn spelled(table: &Table) -> Value {
    json!({
        "TableName": table.name,
        "TableStatus": "ACTIVE",
        "TableArn": format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{}", table.name),
        "AttributeDefinitions": [{"AttributeName": table.key, "AttributeType": table.key_type}],
        "KeySchema": [{"AttributeName": table.key, "KeyType": "HASH"}],
        "CreationDateTime": table.created.seconds(),
        "ItemCount": table.items.len(),
        "TableSizeBytes": 0,
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
    })
}

fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    Ok(json!({ "Table": spelled(table(model, params, true)?) }))
}

fn create(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let name = name(params)?;
    if model.tables.contains_key(name) {
        return Err(Refusal::new("ResourceInUseException", format!("Table already exists: {name}")));
    }
    let schema: Vec<Params<'_>> = params.tables("KeySchema").collect();
    let [key] = schema[..] else { return Err(invalid("the lab makes tables with a partition key and no sort key")) };
    let key = key.text("AttributeName").filter(|_| key.text("KeyType") == Some("HASH"));
    let key = key.ok_or_else(|| invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type"))?;
    let mut definitions = params.tables("AttributeDefinitions");
    let defined = definitions.find(|one| one.text("AttributeName") == Some(key));
    let kind = defined.and_then(|one| one.text("AttributeType")).filter(|kind| ["S", "N", "B"].contains(kind));
    let kind = kind.ok_or_else(|| {
        invalid(format!(
            "One or more parameter values were invalid: Some index key attributes are not defined in \
             AttributeDefinitions. Keys: [{key}], AttributeDefinitions: []"
        ))
    })?;
    let (key, key_type) = (key.to_owned(), kind.to_owned());
    let table = Table { name: name.to_owned(), key, key_type, created: now, items: BTreeMap::new() };
    let answer = json!({ "TableDescription": spelled(&table) });
    model.tables.insert(table.name.clone(), table);
    Ok(answer)
}

fn delete(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let answer = json!({ "TableDescription": spelled(table(model, params, true)?) });
    model.tables.remove(name(params)?);
    Ok(answer)
}

fn get(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let table = table(model, params, false)?;
    let key = params.0.get("Key").and_then(Value::as_object).filter(|key| key.len() == 1);
    let key = key.and_then(|key| key.get(&table.key)).filter(|value| value.get(&table.key_type).is_some());
    let key = key.ok_or_else(|| invalid("The provided key element does not match the schema"))?;
    Ok(table.items.get(&key.to_string()).map_or_else(|| json!({}), |item| json!({ "Item": item })))
}

fn put(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let found = table(model, params, false)?;
    let item = params.0.get("Item").and_then(Value::as_object).ok_or_else(|| {
        invalid(
            "1 validation error detected: Value null at 'item' failed to satisfy constraint: Member must not be null",
        )
    })?;
    let wrong = |why: String| invalid(format!("One or more parameter values were invalid: {why}"));
    let key = item.get(&found.key).ok_or_else(|| wrong(format!("Missing the key {} in the item", found.key)))?;
    if key.get(&found.key_type).is_none() {
        let actual = key.as_object().and_then(|typed| typed.keys().next()).map_or("NULL", String::as_str);
        let (key, expected) = (&found.key, &found.key_type);
        return Err(wrong(format!("Type mismatch for key {key} expected: {expected} actual: {actual}")));
    }
    let key = key.to_string();
    let old = found.items.get(&key);
    if !condition::holds(params, old)? {
        let refusal = Refusal::new("ConditionalCheckFailedException", "The conditional request failed");
        let all_old = params.text("ReturnValuesOnConditionCheckFailure") == Some("ALL_OLD");
        return Err(match old.filter(|_| all_old) {
            Some(old) => refusal.with("Item", Value::Object(old.clone())),
            None => refusal,
        });
    }
    let (name, item) = (found.name.clone(), item.clone());
    model.tables.get_mut(&name).expect("it was found").items.insert(key, item);
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Model {
        let mut model = Model::default();
        let table = json!({
            "TableName": "leases", "KeySchema": [{"AttributeName": "listener", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "listener", "AttributeType": "S"}],
        });
        create(&mut model, Time(0), Params(&table)).unwrap();
        model
    }

    fn code(answer: Result<Value, Refusal>) -> String {
        answer.map_or_else(|refusal| format!("{}: {}", refusal.code, refusal.message), |_| "done".to_owned())
    }

    /// Proves that a write whose condition does not hold changes nothing and shows what stands, and that one whose condition
    /// holds is read.
    #[test]
    fn of_two_writers_one_is_refused_and_shown_the_other() {
        let mut model = account();
        let item = |owner: &str| {
            json!({
                "TableName": "leases", "Item": {"listener": {"S": "l"}, "owner": {"S": owner}, "generation": {"N": "7"}},
                "ConditionExpression": "attribute_not_exists(#l) OR (#o = :o AND #g < :g)",
                "ExpressionAttributeNames": {"#l": "listener", "#o": "owner", "#g": "generation"},
                "ExpressionAttributeValues": {":o": {"S": owner}, ":g": {"N": "70"}},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            })
        };
        assert_eq!(code(put(&mut model, Params(&item("one")))), "done");
        let refused = put(&mut model, Params(&item("two"))).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            ("ConditionalCheckFailedException", "The conditional request failed")
        );
        assert_eq!(refused.more["Item"]["owner"], json!({"S": "one"}));
        assert_eq!(code(put(&mut model, Params(&item("one")))), "done", "the numbers are compared as numbers");
        let key = json!({"TableName": "leases", "Key": {"listener": {"S": "l"}}});
        assert_eq!(get(&model, Params(&key)).unwrap()["Item"]["owner"], json!({"S": "one"}));
        let other = json!({"TableName": "leases", "Key": {"listener": {"S": "m"}}});
        assert_eq!(get(&model, Params(&other)).unwrap(), json!({}));
    }

    /// Proves the refusals of calls that make no sense, by AWS's codes.
    #[test]
    fn calls_that_make_no_sense_are_refused_as_aws_does() {
        let mut model = account();
        let gone = json!({"TableName": "nowhere", "Key": {"listener": {"S": "l"}}});
        assert_eq!(code(get(&model, Params(&gone))), "ResourceNotFoundException: Requested resource not found");
        let told = code(describe(&model, Params(&gone)));
        assert_eq!(told, "ResourceNotFoundException: Requested resource not found: Table: nowhere not found");
        let key = json!({"TableName": "leases", "Key": {"id": {"S": "l"}}});
        assert_eq!(
            code(get(&model, Params(&key))),
            "ValidationException: The provided key element does not match the schema"
        );
        let keyless = json!({"TableName": "leases", "Item": {"id": {"S": "l"}}});
        assert!(code(put(&mut model, Params(&keyless))).contains("Missing the key listener in the item"));
        let typed = json!({"TableName": "leases", "Item": {"listener": {"N": "1"}}});
        assert!(code(put(&mut model, Params(&typed))).contains("expected: S actual: N"));
        let twice = json!({"TableName": "leases"});
        assert!(code(create(&mut model, Time(0), Params(&twice))).starts_with("ResourceInUseException"));
        assert_eq!(code(delete(&mut model, Params(&twice))), "done");
        assert!(code(describe(&model, Params(&twice))).starts_with("ResourceNotFoundException"));
    }
}
