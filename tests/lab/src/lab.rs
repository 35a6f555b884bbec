//! A running lab: what it listens on, who lives in it, and how it ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::limits::Limits;
use crate::model::fleet::TaskState;
use crate::model::{HealthState, Model};
use crate::plane::{Past, Plane, Switches};
use crate::scenario::{self, Scene};
use crate::shared::Shared;
use crate::{ecs, later, paper, server};

/// How long a lab may take until everything in it runs, in real time.
const READY_MAX: Duration = Duration::from_secs(20);

/// Whether anything is behind the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Nodes, upstreams, health checks.
    Carried,
    /// None: a fleet on paper.
    None,
}

/// How a lab is to be.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Where the control plane listens; port 0 for one of the kernel's choice.
    pub listen: SocketAddr,
    /// How many times as fast as real time the lab's clock runs.
    pub speed: u32,
    /// The stage that Migration Assistant is deployed as.
    pub stage: String,
    /// How often it is deployed, 1 to [`scenario::DEPLOYMENTS_MAX`]; each has a load balancer and a fleet of its own.
    pub deployments: u16,
    /// Whether calls are limited as AWS limits them.
    pub limited: bool,
    /// Whether it carries traffic.
    pub traffic: Traffic,
    /// What AWS does not document of carrying it.
    pub switches: Switches,
    /// What the source is to look back on; nothing, if nobody asks.
    pub past: Option<Past>,
    /// What chance is drawn from where traffic is carried.
    pub seed: u64,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            speed: 1,
            stage: scenario::STAGE.into(),
            deployments: 1,
            limited: true,
            traffic: Traffic::Carried,
            switches: Switches::default(),
            past: None,
            seed: 1,
        }
    }
}

/// A lab that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    plane: Option<Plane>,
    scenes: Vec<Scene>,
}

impl Lab {
    /// Starts one, and comes back when everything in it runs.
    ///
    /// # Errors
    /// If an address cannot be had, or if it does not get going within [`READY_MAX`].
    pub async fn start(config: LabConfig) -> anyhow::Result<Self> {
        let clock = Clock::start(config.speed);
        let (model, scenes) = scenario::deployments(&config.stage, config.deployments, clock.now())?;
        let scene = scenes.first().cloned().unwrap_or_default();
        let shared = Arc::new(Shared::new(clock, model, scene, Limits::new(config.limited)));
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}: is the port taken?", config.listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(Arc::clone(&shared), listener, stopped));
        tasks.spawn(ecs::drive::run(Arc::clone(&shared)));
        tasks.spawn(later::run(Arc::clone(&shared)));
        shared.plane.set_switches(config.switches);
        let plane = match config.traffic {
            Traffic::Carried => {
                let started = Plane::start(Arc::clone(&shared), config.seed).await;
                Some(started.context("cannot open the listeners of the load balancers")?)
            }
            Traffic::None => {
                tasks.spawn(paper::run(Arc::clone(&shared)));
                None
            }
        };
        let lab = Self { shared, address, stop, tasks, plane, scenes };
        lab.ready(config.traffic).await?;
        if let (Some(plane), Some(past)) = (&lab.plane, config.past) {
            plane.fill_past(&lab.shared.scene.source_tg, past);
        }
        Ok(lab)
    }

    /// Waits until every task runs, every target is healthy and the weighted listener can be reached.
    async fn ready(&self, traffic: Traffic) -> anyhow::Result<()> {
        let mut changes = self.shared.changes();
        let settled = async {
            while !self.shared.read(|model| is_ready(model, &self.shared.scene, traffic)) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(READY_MAX, settled).await.is_err() {
            bail!("the lab's fleet is not healthy after {READY_MAX:?}: see _lab/state at {}", self.endpoint());
        }
        Ok(())
    }

    /// What the services of AWS are called at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The weighted listener, for clients; `None` without traffic.
    pub fn alb_url(&self) -> Option<String> {
        let scene = &self.shared.scene;
        let address = self.shared.read(|model| model.listeners.get(&scene.listener_arn).and_then(|one| one.address));
        address.map(|address| format!("http://{address}"))
    }

    /// The names of each deployment; the first is [`Lab::scene`].
    pub fn scenes(&self) -> &[Scene] {
        &self.scenes
    }

    /// The names of what is in it.
    pub fn scene(&self) -> &Scene {
        &self.shared.scene
    }

    /// What its parts hold in common, for tests that look inside.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What the program says first.
    pub fn hello(&self) -> Value {
        let scene = self.scene();
        json!({
            "endpoint": self.endpoint(),
            "listener_arn": scene.listener_arn,
            "source_tg": scene.source_tg,
            "target_tg": scene.target_tg,
            "alb_url": self.alb_url(),
            "cluster": scene.cluster,
            "source_service": scene.source_service,
            "target_service": scene.target_service,
        })
    }

    /// Ends it: connections are closed where they are.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
        if let Some(plane) = self.plane.take() {
            plane.stop().await;
        }
    }
}

fn is_ready(model: &Model, scene: &Scene, traffic: Traffic) -> bool {
    let reached = model.listeners.get(&scene.listener_arn).is_some_and(|listener| listener.address.is_some());
    let mut targets = model.target_groups.values().flat_map(|group| &group.targets);
    model.fleet.tasks.values().all(|task| task.state == TaskState::Running)
        && targets.all(|target| target.health.state == HealthState::Healthy)
        && (reached || traffic == Traffic::None)
}
