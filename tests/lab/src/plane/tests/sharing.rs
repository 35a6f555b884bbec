//! Weights: what share each group gets, and when each node knows.

use std::time::Duration;

use tokio::task::JoinSet;

use super::support::*;
use crate::model::action::Action;
use crate::model::{Condition, Rule};
use crate::plane::Switches;

/// Proves that each request is shared out by the weights, within what chance allows, also on connections that stay open.
#[tokio::test]
async fn requests_are_shared_by_weight() {
    let lab = Lab::start(model(), prompt()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(lab.client().await);
    }
    for (source, target) in [(900, 100), (1, 1), (0, 1)] {
        lab.weights(source, target).await;
        let mut tasks = JoinSet::new();
        for mut client in clients.drain(..) {
            tasks.spawn(async move {
                let mut got = 0;
                for _ in 0..150 {
                    got += u32::from(client.get().await.side() == TARGET);
                }
                (client, got)
            });
        }
        let (mut got, all) = (0, 8 * 150);
        while let Some(done) = tasks.join_next().await {
            let (client, of_client) = done.unwrap();
            got += of_client;
            clients.push(client);
        }
        let share = f64::from(target) / f64::from(source + target);
        let (mean, deviation) = (f64::from(all) * share, (f64::from(all) * share * (1.0 - share)).sqrt());
        // Five standard deviations: one run in two million is outside.
        assert!((f64::from(got) - mean).abs() <= 5.0 * deviation, "{got} of {all} at {source}/{target}");
    }
    lab.plane.stop().await;
}

/// Proves that every node goes on with the old weights at first, that none goes back to them, and that all have the new ones
/// from the moment on that the data plane says.
#[tokio::test]
async fn each_node_learns_of_a_change_in_its_own_time() {
    let lab = Lab::start(model(), Switches { propagation_max_seconds: 60.0, ..Switches::default() }).await;
    // Connections are spread over the nodes in turn: the first is on the first node, the second on the second.
    let mut clients = [lab.client().await, lab.client().await];
    let before = lab.now();
    lab.weights(0, 1).await;
    let settled = lab.plane.settled(LISTENER).expect("the change is on its way");
    let mut moved = [false; 2];
    while moved.contains(&false) {
        for (client, moved) in clients.iter_mut().zip(&mut moved) {
            let asked = lab.now();
            let is_new = client.get().await.side() == TARGET;
            // A node's own delay is an eighth of the longest at the least where there are two of them.
            let soon = lab.now().since(before) < Duration::from_secs(7);
            assert!(!(is_new && soon), "a node had the new weights at once");
            assert!(is_new || !*moved, "a node went back to the old weights");
            assert!(is_new || asked < settled, "a node has the old weights after its delay");
            *moved = is_new;
        }
    }
    lab.until("nothing is on its way", |_| lab.plane.settled(LISTENER).is_none()).await;
    lab.plane.stop().await;
}

/// Proves that a numbered rule takes what fits past the default rule, and that log-in actions let everyone through.
#[tokio::test]
async fn numbered_rules_come_before_the_default_rule() {
    let mut model = model();
    let login = Action { order: Some(1), what: crate::model::action::What::Cognito(serde_json::Map::new()) };
    let forward = Action { order: Some(2), ..Action::forward(&[(TARGET, 1)]) };
    model.listeners.get_mut(LISTENER).unwrap().rules = vec![Rule {
        arn: format!("{LISTENER}/9"),
        priority: 5,
        conditions: vec![Condition::Header("x-try".to_owned(), vec!["target".to_owned()])],
        actions: vec![login, forward],
        transforms: Vec::new(),
    }];
    let lab = Lab::start(model, prompt()).await;
    let mut client = lab.client().await;
    assert_eq!(client.get_with(&[("x-try", "target")]).await.side(), TARGET);
    assert_eq!(client.get_with(&[("x-try", "source")]).await.side(), SOURCE);
    lab.plane.stop().await;
}

/// Proves that fixed responses and redirections are answered by the node itself and counted as such.
#[tokio::test]
async fn a_node_answers_fixed_responses_and_redirections_itself() {
    let lab = Lab::start(model(), prompt()).await;
    let config = |value: serde_json::Value| value.as_object().unwrap().clone();
    let fixed = serde_json::json!({"StatusCode": "418", "ContentType": "text/plain", "MessageBody": "no"});
    let what = crate::model::action::What::FixedResponse(config(fixed));
    lab.set(LISTENER, vec![Action { order: None, what }]).await;
    let mut client = lab.client().await;
    let reply = client.get().await;
    assert_eq!((reply.status, &reply.body[..]), (418, "no"));
    let redirect = serde_json::json!({"Host": "new.#{host}", "Path": "/x/#{path}", "StatusCode": "HTTP_301"});
    lab.set(LISTENER, vec![Action { order: None, what: crate::model::action::What::Redirect(config(redirect)) }]).await;
    let reply = client.get().await;
    assert_eq!((reply.status, &reply.headers["location"]), (301, &"https://new.shop/x/".parse().unwrap()));
    assert_eq!(lab.measured("HTTP_Fixed_Response_Count", None).count(), 1);
    assert_eq!(lab.measured("HTTP_Redirect_Count", None).count(), 1);
    assert_eq!(lab.measured("RequestCount", None).count(), 0, "no target was chosen");
    lab.plane.stop().await;
}
