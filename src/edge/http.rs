//! Routes, and the limits that keep clients that do not read, or too many of them, from taking more than they may.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Edge, health, kafka, metrics, partitions};

/// The most connections that are served at a time. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// The longest life of a connection: it carries one request.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// The longest time in which a request's header arrives.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// The pause after a failed accept, most likely because no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, edge: Arc<Edge>) {
    let routes = Router::new()
        .route("/", get(async || INDEX))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(own_metrics))
        .route("/metrics/kafka", get(kafka_metrics))
        .route("/metrics/partitions", get(partition_metrics))
        .with_state(edge);
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection for metrics: {error}");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WITHIN)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that breaks off or is too slow is its own witness.
            let _ = timeout(REQUEST_MAX, connection).await;
            drop(permit);
        });
    }
}

const INDEX: &str = "\
tidemill
  /metrics              counters, gauges and histograms of this node, for Prometheus
  /metrics/kafka        the names that dashboards for Strimzi and kafka_exporter use
  /metrics/partitions   offsets, sizes and traffic of each partition
  /livez                200 while the shards run their tasks
  /readyz               200 while clients can connect
  /startupz             200 once the start is complete; before, how far it is
  /healthz?verbose      every check, and what is wrong
";

async fn livez(State(edge): State<Arc<Edge>>, RawQuery(query): RawQuery) -> Response {
    checks("livez", health::live(&edge).await, query)
}

async fn readyz(State(edge): State<Arc<Edge>>, RawQuery(query): RawQuery) -> Response {
    checks("readyz", health::ready(&edge).await, query)
}

async fn startupz(State(edge): State<Arc<Edge>>) -> Response {
    // How far it is matters until it is complete.
    checks("startupz", health::started(&edge), Some("verbose".into()))
}

async fn healthz(State(edge): State<Arc<Edge>>, RawQuery(query): RawQuery) -> Response {
    checks("healthz", health::healthy(&edge).await, query)
}

fn checks(name: &str, checks: Vec<health::Check>, query: Option<String>) -> Response {
    let is_verbose = query.is_some_and(|query| query.split('&').any(|word| word.split('=').next() == Some("verbose")));
    let is_passed = checks.iter().all(health::Check::is_passed);
    let status = if is_passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, health::to_text(name, &checks, is_verbose)).into_response()
}

async fn own_metrics(State(edge): State<Arc<Edge>>) -> Response {
    let snapshot = edge.shards.figures().await;
    exposition(metrics::render(&edge, &snapshot))
}

async fn kafka_metrics(State(edge): State<Arc<Edge>>) -> Response {
    let snapshot = edge.shards.figures().await;
    exposition(kafka::render(&edge, &snapshot))
}

async fn partition_metrics(State(edge): State<Arc<Edge>>) -> Response {
    exposition(partitions::render(&edge.shards.figures().await))
}

fn exposition(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
