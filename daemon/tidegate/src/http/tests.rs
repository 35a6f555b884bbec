//! The API over real sockets, on a daemon with a proxy in this process.

use std::net::SocketAddr;

use proxy::config::{Side, Upstream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::*;
use crate::cli::Context;
use crate::cli::api::Api;
use crate::clock::Clock;
use crate::run::Shared;

const POLICY: &str = r#"
service = "search"
[source]
endpoints = ["http://127.0.0.1:9"]
[target]
endpoints = ["http://127.0.0.1:9"]
[shift]
steps = ["10 %", "95 %", "100 %"]
writes = "split"
"#;

struct Served {
    api: Api,
    app: App,
    tasks: JoinSet<()>,
    dir: TempDir,
}

fn served() -> Served {
    let dir = TempDir::new().unwrap();
    let policies = dir.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("search.toml"), POLICY).unwrap();
    std::fs::write(policies.join("broken.toml"), "service = 7").unwrap();
    let nowhere: Upstream = "http://127.0.0.1:9".parse().unwrap();
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut config = proxy::Config::new(listen, Side::new(vec![nowhere.clone()]));
    config.target = Some(Side::new(vec![nowhere]));
    let own = proxy::Proxy::start(config).unwrap();
    let (shared, deliverer) = Shared::open(&dir.path().join("state"), Some(own), Clock::system()).unwrap();
    let (daemon, mut waiting) = Daemon::new(shared, &policies);
    let app = App { daemon, ready: Arc::new(AtomicBool::new(true)) };
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let service = router(app.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(deliverer.run());
    tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    tasks.spawn(async move {
        let mut loops = JoinSet::new();
        while let Some((controller, first)) = waiting.recv().await {
            loops.spawn(controller.run(first));
        }
    });
    let api = Api::new(&Context { json: false, api: format!("unix:{}", socket.display()) }).unwrap();
    Served { api, app, tasks, dir }
}

impl Served {
    async fn order(&self, service: &str, verb: &str) -> (u16, Value) {
        let body = json!({ "verb": verb, "actor": "a.lee", "reason": "test" });
        self.api.call("POST", &format!("/v1/cutovers/{service}/orders"), Some(&body)).await.unwrap()
    }
}

/// Proves that every route is in the OpenAPI document and no other, and that each is served.
#[tokio::test]
async fn the_document_names_every_route() {
    let served = served();
    let (status, document) = served.api.call("GET", "/v1/openapi.json", None).await.unwrap();
    assert_eq!(status, 200);
    let mut documented = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        documented.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let mut routes: Vec<_> = ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    documented.sort();
    routes.sort();
    assert_eq!(documented, routes);
}

/// Proves that services are listed, a broken policy with its problem, and that an unknown service says what is known.
#[tokio::test]
async fn services_are_listed_with_their_problems() {
    let served = served();
    let (_, list) = served.api.call("GET", "/v1/cutovers", None).await.unwrap();
    assert_eq!(list[0]["service"], "broken");
    assert!(list[0]["problems"][0].as_str().unwrap().contains("broken.toml:1:"), "{list}");
    assert_eq!((&list[1]["service"], &list[1]["phase"]), (&json!("search"), &json!("idle")));
    let (status, answer) = served.api.call("GET", "/v1/cutovers/serch", None).await.unwrap();
    assert_eq!(status, 404);
    assert!(answer["error"].as_str().unwrap().contains("known are: broken, search"), "{answer}");
}

/// Proves that a reload reads every layer again, the shared defaults too, and lays them over one another as `policy show`
/// does; a layer that is wrong takes the service's policy away, and is named.
#[tokio::test]
async fn a_reload_reads_every_layer() {
    let served = served();
    let policies = served.dir.path().join("policies");
    let write = |text| std::fs::write(policies.join("defaults.toml"), text).unwrap();
    let shown =
        || crate::policy_files::load(&policies.join("search.toml"), &crate::policy_files::environment()).unwrap();
    assert_ne!(served.app.daemon.policy("search").unwrap().shift.attempts_max, 9);
    write("[shift]\nattempts_max = 9\n");
    served.app.daemon.reload().await;
    assert_eq!(served.app.daemon.policy("search").unwrap().shift.attempts_max, 9);
    assert_eq!(served.app.daemon.policy("search"), shown().policy);
    write("[shift]\nattempts_mx = 9\n");
    served.app.daemon.reload().await;
    assert_eq!(served.app.daemon.policy("search"), None);
    let detail = served.app.daemon.detail("search").unwrap();
    assert!(detail.problems[0].contains("defaults.toml:2:1"), "{:?}", detail.problems);
}

/// Proves that an order is answered with what it did, a wrong one with what is wrong, and that both are told apart.
#[tokio::test]
async fn orders_are_answered() {
    let served = served();
    let (status, answer) = served.order("search", "revert").await;
    assert_eq!((status, answer["error"].as_str().unwrap().contains("has no cutover")), (404, true));
    assert_eq!(served.order("search", "fly").await.0, 400);
    assert_eq!(served.order("broken", "start").await.0, 422);
    let anonymous = json!({ "verb": "start", "actor": " ", "reason": "test" });
    let (status, _) = served.api.call("POST", "/v1/cutovers/search/orders", Some(&anonymous)).await.unwrap();
    assert_eq!(status, 400);
    let (status, answer) = served.order("search", "start").await;
    assert_eq!((status, &answer["accepted"], &answer["phase"]), (200, &json!(true), &json!("preflight")));
    assert_eq!(served.order("search", "start").await.0, 409);
    let (status, answer) = served.order("search", "resume").await;
    assert_eq!((status, &answer["accepted"]), (409, &json!(false)), "{answer}");
    let (_, journal) = served.api.call("GET", "/v1/cutovers/search/journal", None).await.unwrap();
    assert_eq!(journal[0]["event"]["verb"]["verb"], "start");
    assert_eq!(journal[0]["event"]["actor"], "a.lee");
}

/// Proves that following begins with the cutover as it is and goes on with each decision.
#[tokio::test]
async fn events_are_followed() {
    let served = served();
    served.order("search", "start").await;
    let mut seen = 0;
    let held = served.api.follow("search", |update| {
        seen += 1;
        if seen == 1 {
            return Ok(None);
        }
        Ok(update.view.cutover.standing.is_some().then_some(()))
    });
    let order = async {
        tokio::task::yield_now().await;
        served.order("search", "hold").await
    };
    let (held, (status, answer)) = tokio::join!(held, order);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(held.unwrap(), Some(()));
}

/// Proves that over TCP nothing but health is answered without the token.
#[tokio::test]
async fn tcp_needs_the_token() {
    let mut served = served();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = guarded(served.app.clone(), Secret::new("open sesame"));
    served.tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    let outbound = crate::outbound::Outbound::new().unwrap();
    let url = format!("http://{address}/v1/cutovers/search/orders");
    let answer = outbound.post(&url, None, "1", crate::clock::now(), &json!({})).await.unwrap();
    assert_eq!(answer.status, 401);
    assert!(answer.text.contains("Bearer TOKEN"), "{}", answer.text);
    let health = outbound.post(&format!("http://{address}/health"), None, "1", crate::clock::now(), &json!({})).await;
    assert_eq!(health.unwrap().status, 405, "known, and not by POST");
    assert!(served.dir.path().exists());
}

/// Proves that the metrics name the phase and the shares of a running cutover.
#[tokio::test]
async fn metrics_show_the_cutover() {
    let served = served();
    served.order("search", "start").await;
    let response = metrics::metrics(State(served.app.clone())).await;
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    for line in [
        "tidegate_build_info{version=",
        "tidegate_share{service=\"search\",class=\"reads\",kind=\"desired\"} 0.0",
        "tidegate_journal_writable{service=\"search\"} 1",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert!(text.contains("tidegate_phase{service=\"search\",phase="), "{text}");
}

/// Proves that two services cannot move one proxy: neither the daemon's own one of another service, nor one that a
/// cutover which is not closed works on.
#[tokio::test]
async fn one_proxy_has_one_cutover() {
    let served = served();
    let other = |proxies: &str| POLICY.replace("service = \"search\"", &format!("service = \"other\"\n{proxies}"));
    let policies = served.dir.path().join("policies");
    let named = "[balancer]\nproxies = [\"unix:/nowhere.sock\"]";
    std::fs::write(policies.join("other.toml"), other(named)).unwrap();
    std::fs::write(policies.join("third.toml"), other(named).replace("\"other\"", "\"third\"")).unwrap();
    served.app.daemon.reload().await;
    let (status, answer) = served.order("other", "start").await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = served.order("third", "start").await;
    assert_eq!(status, 409, "{answer}");
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains("unix:/nowhere.sock") && text.contains("of `other`"), "{text}");
    served.order("other", "abort").await;
    served.order("other", "close").await;
    let (status, answer) = served.order("third", "start").await;
    assert_eq!(status, 200, "{answer}");
}

/// Proves that the daemon goes on with more services than may wait to be taken up, and that a closed cutover whose
/// proxies are gone does not keep it from starting.
#[tokio::test]
async fn many_services_are_gone_on_with() {
    let dir = TempDir::new().unwrap();
    let services = 70;
    {
        let (shared, _deliverer) = Shared::open(dir.path(), None, Clock::system()).unwrap();
        for number in 0..=services {
            let mut next = crate::testing::cutover(&format!("service-{number}"));
            if number < services {
                let mut policy = crate::testing::policy(&format!("service-{number}"));
                let cutover::policy::BalancerPolicy::Listener { proxies, .. } = &mut policy.balancer else {
                    unreachable!("the policy of the tests is for our own proxies")
                };
                proxies.push(format!("unix:/nowhere-{number}.sock"));
                next.policy = policy.into();
            } else {
                let (actor, reason) = ("a.lee".to_owned(), "over".to_owned());
                next.closed = Some(cutover::event::Order { verb: cutover::event::Verb::Close, actor, reason });
            }
            let lease = shared.store.lease(&next.policy.service, "test", shared.clock.now()).await.unwrap();
            let draft = crate::store::Draft {
                at: shared.clock.now(),
                event: cutover::Event::Tick,
                reason: next.reason.clone(),
                next,
                commands: Vec::new(),
                messages: Vec::new(),
            };
            shared.store.append(&lease, draft).await.unwrap();
        }
    }
    let (shared, _deliverer) = Shared::open(dir.path(), None, Clock::system()).unwrap();
    let (daemon, _waiting) = Daemon::new(shared, dir.path());
    let resumed = tokio::time::timeout(std::time::Duration::from_mins(1), daemon.resume()).await;
    let loops = resumed.expect("it does not wait for itself").unwrap();
    assert_eq!(loops.len(), services);
    assert_eq!(daemon.hanging(crate::clock::instant()), Vec::<String>::new());
    let later = crate::clock::instant() + std::time::Duration::from_mins(1);
    assert_eq!(daemon.hanging(later).len(), services, "a loop that nobody runs hangs");
}

/// Proves that the daemon's own proxy is moved for its own service alone.
#[tokio::test]
async fn the_own_proxy_belongs_to_its_service() {
    let dir = TempDir::new().unwrap();
    let nowhere: Upstream = "http://127.0.0.1:9".parse().unwrap();
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let own = proxy::Proxy::start(proxy::Config::new(listen, Side::new(vec![nowhere]))).unwrap();
    let (mut shared, _deliverer) = Shared::open(dir.path(), Some(own), Clock::system()).unwrap();
    shared.own_service = Some("search".to_owned());
    assert!(shared.controller(crate::testing::cutover("search")).await.is_ok());
    let Err(error) = shared.controller(crate::testing::cutover("other")).await else { panic!("it was taken") };
    assert!(error.to_string().contains("serves `search`"), "{error}");
}

/// Proves that a cutover starts by the file as it is then, not as it was when the daemon last looked; and that of two
/// files for one service neither is taken.
#[tokio::test]
async fn a_start_reads_the_policy_as_it_is() {
    let served = served();
    let file = served.dir.path().join("policies/search.toml");
    std::fs::write(&file, POLICY.replace("\"10 %\"", "\"7 %\"")).unwrap();
    let (status, answer) = served.order("search", "start").await;
    assert_eq!(status, 200, "{answer}");
    let steps = served.app.daemon.running("search").unwrap().view().cutover.policy.shift.steps.clone();
    assert_eq!(steps[0].reads.per_mille(), 70);
    served.order("search", "abort").await;
    std::fs::write(served.dir.path().join("policies/search-2.toml"), POLICY).unwrap();
    let (status, answer) = served.order("search", "start").await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("both state its policy"), "{answer}");
}

/// Proves that who and why are a line of text each: they are printed on terminals and kept in every entry.
#[tokio::test]
async fn who_and_why_are_lines_of_text() {
    let served = served();
    for (actor, reason) in [("a.lee".to_owned(), "x".repeat(2001)), ("a\u{1b}[2J".to_owned(), "test".to_owned())] {
        let order = json!({ "verb": "start", "actor": actor, "reason": reason });
        let (status, answer) = served.api.call("POST", "/v1/cutovers/search/orders", Some(&order)).await.unwrap();
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("one line"), "{answer}");
    }
}

/// Proves that the own proxy's counters are served as a proxy serves its own, that a service's past is empty before
/// anything counted it, and that a baseline goes with `start` alone and is refused where it is none.
#[tokio::test]
async fn baselines_find_their_numbers_and_are_refused_by_what_is_wrong() {
    let served = served();
    let counters: proxy::api::Counters = served.api.get("/v1/counters").await.unwrap();
    assert_eq!(counters.source.reads.requests, 0);
    let (status, past) = served.api.call("GET", "/v1/cutovers/search/past?seconds=60", None).await.unwrap();
    assert_eq!((status, past), (200, json!([])));
    assert_eq!(served.api.call("GET", "/v1/cutovers/serch/past?seconds=60", None).await.unwrap().0, 404);
    let order = async |verb: &str, document: Value| {
        let baseline = json!({ "name": "mine.json", "document": document });
        let body = json!({ "verb": verb, "actor": "a.lee", "reason": "test", "baseline": baseline });
        let (status, answer) = served.api.call("POST", "/v1/cutovers/search/orders", Some(&body)).await.unwrap();
        (status, answer["error"].as_str().unwrap_or_default().to_owned())
    };
    let (status, said) = order("hold", json!({})).await;
    assert!(status == 400 && said.contains("`start` alone"), "{status} {said}");
    let (status, said) = order("start", json!({ "layout": 7 })).await;
    assert!(status == 422 && said.contains("mine.json: the baseline has layout 7"), "{status} {said}");
    // Nothing was started by it.
    assert_eq!(served.app.daemon.detail("search").unwrap().view.map(|view| view.cutover.id), None);
}
