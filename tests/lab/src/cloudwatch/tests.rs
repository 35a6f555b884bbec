//! CloudWatch's operations as clients meet them: pages, orders, limits, errors, both protocols.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::wire::{Protocol, read};

const MINUTE: Duration = Duration::from_mins(1);

/// A whole minute some while ago; what is read is ten minutes old.
fn start() -> Time {
    Time(1_800_000_000_000).minute()
}

fn now() -> Time {
    start() + MINUTE * 60
}

/// Three metrics of ten minutes: A has 1 to 10 requests in its minutes, B has every other minute, C is a response time.
fn filled() -> CloudWatch {
    let cloudwatch = CloudWatch::default();
    let dimensions = [("LoadBalancer", "app/a/1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let metric = |name: &str| Metric {
        namespace: "AWS/ApplicationELB".to_owned(),
        name: name.to_owned(),
        dimensions: dimensions.clone().into(),
    };
    let mut store = cloudwatch.store();
    for (name, unit) in [("A", "Count"), ("B", "Count"), ("C", "Seconds")] {
        let id = store.open(metric(name), unit).unwrap();
        for minute in (0..10u32).filter(|minute| name != "B" || minute % 2 == 0) {
            let at = start() + MINUTE * minute;
            let measured = store.measured(id, at, at + MINUTE * 2);
            match name {
                "C" => (1..=100).for_each(|nth| measured.add(f64::from(nth) / 100.0, 1)),
                _ => measured.add(1.0, u64::from(minute) + 1),
            }
        }
    }
    drop(store);
    cloudwatch
}

fn query(id: &str, name: &str, stat: &str, period: u64) -> Value {
    let dimensions = json!([{"Name": "LoadBalancer", "Value": "app/a/1"}]);
    let metric = json!({"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": dimensions});
    json!({"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}})
}

fn request(queries: &[Value]) -> Value {
    json!({
        "MetricDataQueries": queries,
        "StartTime": start().seconds(),
        "EndTime": (start() + MINUTE * 10).seconds(),
        "ScanBy": "TimestampAscending",
    })
}

fn get(cloudwatch: &CloudWatch, input: &Value) -> Value {
    cloudwatch.carry_out("GetMetricData", input, now()).unwrap_or_else(|refusal| panic!("{input}: {refusal}"))
}

fn code(cloudwatch: &CloudWatch, operation: &str, input: &Value) -> &'static str {
    match cloudwatch.carry_out(operation, input, now()) {
        Ok(output) => panic!("{operation} took {input} and answered {output}"),
        Err(refusal) => refusal.code,
    }
}

/// Proves that series come newest first unless asked otherwise, and that a minute without data is not in them.
#[test]
fn points_come_newest_first_and_only_where_there_is_data() {
    let cloudwatch = filled();
    let mut input = request(&[query("b", "B", "Sum", 60)]);
    let row = &get(&cloudwatch, &input)["MetricDataResults"][0];
    assert_eq!(row["Values"], json!([1.0, 3.0, 5.0, 7.0, 9.0]));
    assert_eq!(row["Timestamps"][1], json!((start() + MINUTE * 2).seconds()));
    input.as_object_mut().unwrap().remove("ScanBy");
    let row = &get(&cloudwatch, &input)["MetricDataResults"][0];
    assert_eq!((&row["Values"], &row["StatusCode"]), (&json!([9.0, 7.0, 5.0, 3.0, 1.0]), &json!("Complete")));
}

/// Proves that the start is rounded down to the minute, that the end is not in the range, and that a range is cut into
/// steps of the period.
#[test]
fn ranges_are_aligned_to_minutes() {
    let cloudwatch = filled();
    let mut input = request(&[query("a", "A", "Sum", 60)]);
    input["StartTime"] = (start().seconds() + 59.0).into();
    input["EndTime"] = (start().seconds() + 120.0).into();
    assert_eq!(get(&cloudwatch, &input)["MetricDataResults"][0]["Values"], json!([1.0, 2.0]));
    let five = get(&cloudwatch, &request(&[query("a", "A", "Sum", 300)]));
    assert_eq!(five["MetricDataResults"][0]["Values"], json!([15.0, 40.0]));
}

/// Proves that pages together give exactly what one answer gives, in either order, at any size of the page.
#[test]
fn pages_together_are_the_whole() {
    let cloudwatch = filled();
    let queries = [query("a", "A", "Sum", 60), query("b", "B", "Sum", 60), query("c", "C", "TC(0.5:)", 60)];
    for order in ["TimestampAscending", "TimestampDescending"] {
        let mut input = request(&queries);
        input["ScanBy"] = order.into();
        let whole = get(&cloudwatch, &input);
        assert!(whole.get("NextToken").is_none());
        for size in [1, 3, 7, 24] {
            input["MaxDatapoints"] = size.into();
            input.as_object_mut().unwrap().remove("NextToken");
            let mut together: Vec<Vec<Value>> = vec![Vec::new(); 3];
            let mut pages = 0;
            loop {
                let page = get(&cloudwatch, &input);
                pages += 1;
                let mut points = 0;
                for (row, all) in page["MetricDataResults"].as_array().unwrap().iter().zip(&mut together) {
                    let (times, values) = (row["Timestamps"].as_array().unwrap(), row["Values"].as_array().unwrap());
                    assert_eq!(times.len(), values.len());
                    points += times.len();
                    all.extend(times.iter().zip(values).map(|(at, value)| json!([at, value])));
                }
                assert!(points <= size as usize);
                let Some(token) = page.get("NextToken") else { break };
                let partial = |row: &Value| row["StatusCode"] == "PartialData";
                assert!(page["MetricDataResults"].as_array().unwrap().iter().any(partial), "{page}");
                input["NextToken"] = token.clone();
            }
            assert!(pages >= 25 / size.min(25), "{pages} pages of {size}");
            for (row, all) in whole["MetricDataResults"].as_array().unwrap().iter().zip(&together) {
                let expected: Vec<Value> = row["Timestamps"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .zip(row["Values"].as_array().unwrap())
                    .map(|(at, value)| json!([at, value]))
                    .collect();
                assert_eq!(*all, expected, "{order}, pages of {size}");
            }
        }
    }
}

/// Proves that a token of another request is refused.
#[test]
fn a_token_is_good_for_its_own_request_alone() {
    let cloudwatch = filled();
    let mut input = request(&[query("a", "A", "Sum", 60)]);
    input["MaxDatapoints"] = 4.into();
    let token = get(&cloudwatch, &input)["NextToken"].clone();
    let mut other = request(&[query("b", "A", "Sum", 60)]);
    other["MaxDatapoints"] = 4.into();
    other["NextToken"] = token;
    assert_eq!(code(&cloudwatch, "GetMetricData", &other), "InvalidNextToken");
    input["NextToken"] = "nonsense".into();
    assert_eq!(code(&cloudwatch, "GetMetricData", &input), "InvalidNextToken");
}

/// Proves that a series failed by script is shown as failed while the others are whole, and only so often.
#[test]
fn a_series_can_fail_alone() {
    let cloudwatch = filled();
    let (metric, status) = ("A".to_owned(), "InternalError".to_owned());
    cloudwatch.broken().series.push(BrokenSeries { metric, status, times: 1 });
    let input = request(&[query("a", "A", "Sum", 60), query("b", "B", "Sum", 60)]);
    let first = get(&cloudwatch, &input);
    assert_eq!(first["MetricDataResults"][0]["StatusCode"], "InternalError");
    assert_eq!(first["MetricDataResults"][0]["Values"], json!([]));
    assert_eq!(first["MetricDataResults"][1]["Values"], json!([1.0, 3.0, 5.0, 7.0, 9.0]));
    assert_eq!(get(&cloudwatch, &input)["MetricDataResults"][0]["StatusCode"], "Complete");
    cloudwatch.broken().page_points = Some(2);
    assert!(get(&cloudwatch, &input).get("NextToken").is_some());
}

/// Proves that what CloudWatch refuses of `GetMetricData` is refused by its code.
#[test]
fn unsound_queries_are_refused() {
    let cloudwatch = filled();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut input = request(&[query("a", "A", "Sum", 60)]);
        change(&mut input);
        assert_eq!(code(&cloudwatch, "GetMetricData", &input), "ValidationError", "{input}");
    };
    refused(&|input| input["MetricDataQueries"][0]["Id"] = "A1".into());
    refused(&|input| input["MetricDataQueries"][0]["Id"] = "a-1".into());
    refused(&|input| input["MetricDataQueries"] = json!([]));
    refused(&|input| input["MetricDataQueries"] = vec![query("a", "A", "Sum", 60); 2].into());
    refused(&|input| {
        let many: Vec<Value> = (0..501).map(|n| query(&format!("a{n}"), "A", "Sum", 60)).collect();
        input["MetricDataQueries"] = many.into();
    });
    refused(&|input| input["MetricDataQueries"][0]["MetricStat"]["Period"] = 7.into());
    refused(&|input| input["MetricDataQueries"][0]["MetricStat"]["Period"] = 90.into());
    refused(&|input| input["MetricDataQueries"][0]["MetricStat"]["Stat"] = "bogus".into());
    refused(&|input| input["MetricDataQueries"][0]["Expression"] = "a+b".into());
    refused(&|input| input["MetricDataQueries"][0]["MetricStat"] = Value::Null);
    refused(&|input| input["EndTime"] = input["StartTime"].clone());
    refused(&|input| input["StartTime"] = Value::Null);
    refused(&|input| input["ScanBy"] = "Sideways".into());
    refused(&|input| input["MaxDatapoints"] = 100_801.into());
    refused(&|input| {
        let dimension = json!({"Name": "LoadBalancer", "Value": "app/a/1"});
        input["MetricDataQueries"][0]["MetricStat"]["Metric"]["Dimensions"] = vec![dimension; 2].into();
    });
    let mut input = request(&[query("a", "A", "Sum", 60)]);
    input["StartTime"] = "yesterday".into();
    assert_eq!(code(&cloudwatch, "GetMetricData", &input), "SerializationException");
}

/// Proves that a metric is its namespace, its name and exactly its dimensions, and that another unit finds nothing.
#[test]
fn other_names_dimensions_and_units_find_nothing() {
    let cloudwatch = filled();
    let values = |change: &dyn Fn(&mut Value)| {
        let mut input = request(&[query("a", "A", "Sum", 60)]);
        change(&mut input["MetricDataQueries"][0]["MetricStat"]);
        get(&cloudwatch, &input)["MetricDataResults"][0]["Values"].as_array().unwrap().len()
    };
    assert_eq!(values(&|_| ()), 10);
    assert_eq!(values(&|stat| stat["Unit"] = "Count".into()), 10);
    assert_eq!(values(&|stat| stat["Unit"] = "Seconds".into()), 0);
    assert_eq!(values(&|stat| stat["Metric"]["Namespace"] = "AWS/NetworkELB".into()), 0);
    assert_eq!(values(&|stat| stat["Metric"]["Dimensions"] = json!([])), 0);
}

/// Proves that the older operation gives the same numbers, several statistics at a time, in no order, and minds its limits.
#[test]
fn statistics_of_one_series() {
    let cloudwatch = filled();
    let ask = |change: &dyn Fn(&mut Value)| {
        let mut input = query("c", "C", "Sum", 60)["MetricStat"]["Metric"].clone();
        input["StartTime"] = start().seconds().into();
        input["EndTime"] = (start() + MINUTE * 10).seconds().into();
        input["Period"] = 300.into();
        change(&mut input);
        input
    };
    let simple = ask(&|input| input["Statistics"] = json!(["Average", "SampleCount"]));
    let answer = cloudwatch.carry_out("GetMetricStatistics", &simple, now()).unwrap();
    let points = answer["Datapoints"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    assert!(points[0]["Timestamp"].as_f64() > points[1]["Timestamp"].as_f64(), "not in order: {points:?}");
    assert_eq!((&points[0]["SampleCount"], &points[0]["Unit"]), (&json!(500.0), &json!("Seconds")));
    let extended = ask(&|input| input["ExtendedStatistics"] = json!(["p99", "TC(0.5:)"]));
    let answer = cloudwatch.carry_out("GetMetricStatistics", &extended, now()).unwrap();
    assert_eq!(answer["Datapoints"][0]["ExtendedStatistics"], json!({"p99": 0.99, "TC(0.5:)": 250.0}));
    for (expected, change) in [
        ("MissingParameter", &(|_: &mut Value| ()) as &dyn Fn(&mut Value)),
        ("InvalidParameterCombination", &|input| {
            input["Statistics"] = json!(["Sum"]);
            input["ExtendedStatistics"] = json!(["p9"]);
        }),
        ("InvalidParameterValue", &|input| input["Statistics"] = json!(["p99"])),
        ("InvalidParameterValue", &|input| {
            input["Statistics"] = json!(["Sum"]);
            input["Period"] = 61.into();
        }),
        ("InvalidParameterCombination", &|input| {
            input["Statistics"] = json!(["Sum"]);
            input["Period"] = 60.into();
            input["EndTime"] = (start() + MINUTE * 1441).seconds().into();
        }),
        ("MissingParameter", &|input| {
            input["Statistics"] = json!(["Sum"]);
            input["StartTime"] = Value::Null;
        }),
    ] {
        assert_eq!(code(&cloudwatch, "GetMetricStatistics", &ask(change)), expected);
    }
}

/// Proves that one may put metrics of one's own, and not AWS's, and read them back with their counts.
#[test]
fn own_metrics_are_taken_and_awss_are_reserved() {
    let cloudwatch = CloudWatch::default();
    let put = |namespace: &str, data: Value| json!({"Namespace": namespace, "MetricData": data});
    let data = json!([
        {"MetricName": "x", "Value": 2.5, "Unit": "Count"},
        {"MetricName": "x", "Values": [1.0, 2.0], "Counts": [3.0, 4.0], "Unit": "Count"},
    ]);
    cloudwatch.carry_out("PutMetricData", &put("Ours", data.clone()), now()).unwrap();
    assert_eq!(code(&cloudwatch, "PutMetricData", &put("AWS/ApplicationELB", data)), "InvalidParameterValue");
    let mut input = request(&[query("x", "x", "Sum", 60)]);
    input["MetricDataQueries"][0]["MetricStat"]["Metric"] = json!({"Namespace": "Ours", "MetricName": "x"});
    input["StartTime"] = now().minute().seconds().into();
    input["EndTime"] = (now() + MINUTE).seconds().into();
    let later = now() + MINUTE;
    let row = cloudwatch.carry_out("GetMetricData", &input, later).unwrap()["MetricDataResults"][0].clone();
    assert_eq!(row["Values"], json!([13.5]));
    for data in [
        json!([]),
        json!([{"MetricName": "x"}]),
        json!([{"MetricName": "x", "Value": 1.0, "Values": [1.0]}]),
        json!([{"MetricName": "x", "Values": [1.0, 2.0], "Counts": [1.0]}]),
        json!([{"MetricName": "x", "Value": 1.0, "Unit": "Furlong"}]),
        json!([{"MetricName": "x", "Value": 1.0, "Timestamp": (now() + MINUTE * 600).seconds()}]),
        json!([{"Value": 1.0}]),
    ] {
        let refused = code(&cloudwatch, "PutMetricData", &put("Ours", data));
        assert!(["InvalidParameterValue", "InvalidParameterCombination", "MissingParameter"].contains(&refused));
    }
}

/// Proves that the list knows each series once, by filters, in pages of five hundred.
#[test]
fn metrics_are_listed_once_and_in_pages() {
    let cloudwatch = filled();
    for batch in 0..2 {
        let data: Vec<Value> = (0..300).map(|n| json!({"MetricName": format!("m{batch}-{n}"), "Value": 1.0})).collect();
        cloudwatch.carry_out("PutMetricData", &json!({"Namespace": "Ours", "MetricData": data}), start()).unwrap();
    }
    let list = |input: Value| cloudwatch.carry_out("ListMetrics", &input, now()).unwrap();
    let first = list(json!({}));
    let second = list(json!({"NextToken": first["NextToken"]}));
    let count = |page: &Value| page["Metrics"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), second.get("NextToken")), (500, 103, None));
    let filter = json!([{"Name": "LoadBalancer", "Value": "app/a/1"}]);
    assert_eq!(count(&list(json!({"Dimensions": filter, "MetricName": "A"}))), 1);
    assert_eq!(count(&list(json!({"Dimensions": [{"Name": "LoadBalancer"}]}))), 3);
    assert_eq!(count(&list(json!({"Namespace": "AWS/NetworkELB"}))), 0);
}

/// Proves that both protocols are read and carry the same answer, CloudWatch's own error codes and the lab's time.
#[test]
fn both_protocols_carry_the_same() {
    let cloudwatch = filled();
    let input = request(&[query("c", "C", "PR(:0.5)", 60)]);
    let mut target = HeaderMap::new();
    target.insert("x-amz-target", "GraniteServiceVersion20100801.GetMetricData".parse().unwrap());
    target.insert("content-type", "application/x-amz-json-1.0".parse().unwrap());
    let path = "/service/GraniteServiceVersion20100801/operation/GetMetricData";
    let cases = [(path, HeaderMap::new(), cbor::encode(&input)), ("/", target, input.to_string().into_bytes())];
    for (path, headers, body) in cases {
        let mut call = read(path, &headers, body.into()).unwrap();
        assert_eq!((call.service, &call.operation[..]), ("monitoring", "GetMetricData"));
        let decode = |body: &[u8]| match call.protocol {
            Protocol::Cbor => cbor::decode(body).unwrap(),
            _ => serde_json::from_slice(body).unwrap(),
        };
        let answer = wire::answer(&cloudwatch, &call, now());
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["date"], now().http_date());
        let values = decode(answer.body())["MetricDataResults"][0]["Values"].clone();
        assert_eq!(values, Value::from(vec![50.0; 10]));
        call.operation = "PutMetricData".into();
        let bad = wire::answer(&cloudwatch, &call, now());
        assert_eq!(bad.status(), 400);
        assert_eq!(bad.headers()["x-amzn-query-error"], "MissingParameter;Sender");
        assert_eq!(decode(bad.body())["__type"], "com.amazonaws.cloudwatch#MissingRequiredParameterException");
        if call.protocol == Protocol::Cbor {
            call.body = Bytes::from_static(b"\xff{");
            let broken = wire::answer(&cloudwatch, &call, now());
            assert_eq!(broken.headers()["x-amzn-query-error"], "SerializationException;Sender");
        }
    }
}
