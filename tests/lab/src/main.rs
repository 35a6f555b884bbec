//! The lab as a program: an AWS on loopback until it is told to stop. What it is, is in the library.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use lab::plane::Past;
use lab::{Lab, LabConfig, Traffic};
use tokio::signal::unix::{SignalKind, signal};

/// An AWS to point at: `AWS_ENDPOINT_URL`, any credentials, region us-east-1.
///
/// The first line of standard output is JSON that says where everything is.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// Where the services listen; port 0 for one of the system's choice.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
    /// What is in the account.
    #[arg(long, value_enum, default_value_t = Scenario::MigrationAssistant)]
    scenario: Scenario,
    /// How many times as fast as real time its clock runs; network time-outs stay real.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(lab::clock::SPEED_MAX)))]
    speed: u32,
    /// How often the scenario is deployed; the first line names the first.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(lab::scenario::DEPLOYMENTS_MAX)))]
    deployments: u16,
    /// Take as many calls as come, where AWS has token buckets.
    #[arg(long)]
    unlimited: bool,
    /// No nodes and no upstreams: a control plane over a fleet on paper.
    #[arg(long)]
    no_traffic: bool,
    /// Days that the source has already served, at `--past-rate` requests a second: metrics of requests that nobody sent.
    #[arg(long, default_value_t = 0, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=i64::from(lab::plane::DAYS_MAX)))]
    past_days: u32,
    /// Requests a second of the past, in the mean over a week.
    #[arg(long, default_value_t = 50.0, value_name = "RATE")]
    past_rate: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Migration Assistant for OpenSearch, as its CDK deploys it.
    MigrationAssistant,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Scenario::MigrationAssistant = arguments.scenario;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let lab = Lab::start(LabConfig {
        listen: arguments.listen,
        speed: arguments.speed,
        deployments: arguments.deployments,
        limited: !arguments.unlimited,
        past: (arguments.past_days > 0).then_some(Past { days: arguments.past_days, rate: arguments.past_rate }),
        traffic: if arguments.no_traffic { Traffic::None } else { Traffic::Carried },
        ..LabConfig::default()
    })
    .await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", lab.hello()).and_then(|()| out.flush()).context("cannot say where the lab is")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    lab.stop().await;
    Ok(())
}
